// linear: y = x wᵀ (+ b), w [out, in]. Backward: dx = dy w, dw += dyᵀ x, db += column sums of dy.
#include <algorithm>

#include "../../cpu/gemm.h"
#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"

namespace lateforge::cpu::LF_ISA::kernels {

// x [T, in], w [out, in], b [out] or absent, y [T, out].
template <class T>
int32_t linear(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  const T* bias = call.in[2].present() ? call.in[2].as<T>() : nullptr;
  gemm<T>(
      {Form::NT, rows, out, in, call.in[0].as<T>(), in, call.in[1].as<T>(), in, call.out[0].as<T>(), out, false, bias},
      call.workspace, call.workspaceBytes);
  return 0;
}

// x [T, in], w [out, in], dy [T, out]; dw [out, in] and db [out] are added to; dx [T, in]. The last three may be
// absent.
template <class T>
int32_t linearBackward(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  const T *x = call.in[0].as<T>(), *w = call.in[1].as<T>(), *dy = call.in[2].as<T>();
  const auto product = [&](const Gemm<T>& g) { gemm<T>(g, call.workspace, call.workspaceBytes); };
  if (call.out[0].present()) product({Form::NN, rows, in, out, dy, out, w, in, call.out[0].as<T>(), in});
  if (call.in[3].present()) product({Form::TN, out, in, rows, dy, out, x, in, call.in[3].as<T>(), in, true});
  if (call.in[4].present()) {
    // Sums of 256 rows, added in order: shorter chains round less.
    T* db = call.in[4].as<T>();
    forBlocks(out, 4 * kLanes<T>, [&](int64_t begin, int64_t end) {
      forLanes<T>(end - begin, [&](int64_t i, auto n) {
        Vec<T> total{};
        for (int64_t first = 0; first < rows; first += 256) {
          Vec<T> sum{};
          for (int64_t r = first; r < first + 256 && r < rows; ++r) sum += loadPart(dy + r * out + begin + i, n);
          total += sum;
        }
        storePart(db + begin + i, loadPart(db + begin + i, n) + total, n);
      });
    });
  }
  return 0;
}

LF_INSTANTIATE(linear);
LF_INSTANTIATE(linearBackward);

}  // namespace lateforge::cpu::LF_ISA::kernels

namespace lateforge::cpu::LF_ISA::needs {

template <class T>
int64_t linear(const OpCall& call) {
  return gemmWorkspace<T>(Form::NT, call.in[0].rows(), call.in[1].rows(), call.in[0].columns());
}

template <class T>
int64_t linearBackward(const OpCall& call) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  return std::max(call.out[0].present() ? gemmWorkspace<T>(Form::NN, rows, in, out) : 0,
                  call.in[3].present() ? gemmWorkspace<T>(Form::TN, out, in, rows) : 0);
}

LF_INSTANTIATE_NEED(linear);
LF_INSTANTIATE_NEED(linearBackward);

}  // namespace lateforge::cpu::LF_ISA::needs
