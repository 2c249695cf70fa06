// Rates of the encoder's kernels at the shapes of ettin-17m (256 wide, 384 GLU, 4 heads × 64): about 8,000 document
// tokens, lengths with mean 119 and cap 180. Best of several runs. LATEFORGE_ISA and LATEFORGE_THREADS choose what
// runs.
#include <chrono>
#include <functional>

#include "../../native/cpu/peak.h"
#include "../../native/cpu/team.h"
#include "../../test/native/harness.h"

using namespace lateforge;
using namespace lateforge::testing;

namespace {

const cpu::Kernels* table;
std::mt19937 rng(7);

// One op on prepared operands, timed without allocation or checks.
template <class P>
struct Prepared {
  OpCall call{};
  std::vector<Tensor> out;
  Bytes workspace;

  Prepared(Op op, const P& params, std::vector<Tensor*> inputs) {
    Meta in[kMaxInputs];
    for (size_t i = 0; i < inputs.size(); ++i) {
      in[i] = inputs[i]->meta;
      if (in[i].present()) call.in[i] = viewOf(*inputs[i]);
    }
    Inferred inferred;
    const Status status = infer(op, &params, in, inferred);
    if (!status.ok()) std::printf("%s\n", status.message.c_str()), std::abort();
    out.resize(specOf(op).outputs.size());
    for (size_t i = 0; i < out.size(); ++i) {
      out[i].meta = inferred.out[i];
      if (!out[i].meta.present()) continue;
      out[i].bytes.resize(static_cast<size_t>(out[i].meta.bytes()));
      call.out[i] = viewOf(out[i]);
    }
    call.op = op;
    std::memcpy(call.params, &params, std::min(sizeof params, sizeof call.params));
    call.workspaceBytes = table->workspace(call);
    workspace.resize(static_cast<size_t>(call.workspaceBytes));
    call.workspace = workspace.data();
  }

  // Seconds of the best run.
  double best() {
    char error[kErrorBytes];
    double least = 1e9;
    for (int run = 0; run < 12; ++run) {
      const auto start = std::chrono::steady_clock::now();
      if (table->op[static_cast<int>(call.op)](call, error)) std::abort();
      least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return least;
  }
};
template <class P>
Prepared(Op, P, std::vector<Tensor*>) -> Prepared<P>;

void flops(const char* name, double seconds, double count) {
  std::printf("%-34s %8.3f ms %8.1f GFLOP/s\n", name, seconds * 1e3, count / seconds * 1e-9);
}
void bytes(const char* name, double seconds, double count) {
  std::printf("%-34s %8.3f ms %8.1f GB/s\n", name, seconds * 1e3, count / seconds * 1e-9);
}

Tensor noise(std::initializer_list<int64_t> dims, double scale = 1) { return random<float>(dims, rng, scale); }

void attentions(int64_t rows, const std::vector<int64_t>& lengths) {
  Tensor segment = segments(lengths), qkv = noise({rows, 768}), dO = noise({rows, 256}), none, seeds;
  std::vector<int32_t> words(2 * lengths.size());
  for (int32_t& w : words) w = static_cast<int32_t>(rng());
  seeds = make<int32_t>({static_cast<int64_t>(lengths.size()), 2}, words);
  for (int64_t window : {int64_t{-1}, int64_t{64}})
    for (double dropout : {0.0, 0.1}) {
      double pairs = 0;  // what the mask lets through
      for (int64_t n : lengths)
        for (int64_t q = 0; q < n; ++q)
          pairs += static_cast<double>(window < 0 ? n : std::min(n, q + window + 1) - std::max<int64_t>(0, q - window));
      char name[64];
      std::snprintf(name, sizeof name, "attention window %d dropout %g", static_cast<int>(window), dropout);
      Prepared forward(Op::attention, params::attention{4, window, dropout, 1}, {&qkv, &segment, &none, &seeds});
      flops(name, forward.best(), pairs * 4 * 64 * 4);
      Prepared backward(Op::attentionBackward, params::attentionBackward{4, window, dropout, 1},
                        {&qkv, &forward.out[0], &forward.out[1], &dO, &segment, &none, &seeds});
      flops("  backward", backward.best(), pairs * 4 * 64 * 10);
    }
}

void linears(int64_t rows, int64_t in, int64_t out) {
  Tensor x = noise({rows, in}), w = noise({out, in}), dy = noise({rows, out}), dw = noise({out, in}), none;
  const double count = 2.0 * static_cast<double>(rows * in * out);
  char name[64];
  std::snprintf(name, sizeof name, "linear %d -> %d", static_cast<int>(in), static_cast<int>(out));
  flops(name, Prepared(Op::linear, params::linear{}, {&x, &w, &none}).best(), count);
  flops("  backward", Prepared(Op::linearBackward, params::linearBackward{1}, {&x, &w, &dy, &dw, &none}).best(),
        2 * count);
}

}  // namespace

int main() {
  char error[kErrorBytes];
  const cpu::Isa* isa = cpu::chooseIsa(error);
  if (!isa) return std::printf("%s\n", error), 1;
  table = isa->floats;
  std::vector<int64_t> lengths;
  int64_t rows = 0;
  while (rows < 8000) {
    lengths.push_back(
        std::clamp<int64_t>(static_cast<int64_t>(std::normal_distribution<double>(119, 45)(rng)), 30, 180));
    rows += lengths.back();
  }
  std::printf("%s, %d threads, multiply-add peak %.0f GFLOP/s, %d tokens in %d sequences\n", isa->name,
              cpu::Team::instance().threads(), 1e-9 * cpu::measurePeak(0.2), static_cast<int>(rows),
              static_cast<int>(lengths.size()));
  attentions(rows, lengths);

  const double plane = static_cast<double>(rows) * 256 * 4;
  Tensor x = noise({rows, 256}), r = noise({rows, 256}), gamma = noise({256}), dgamma = noise({256}), none;
  Prepared norm(Op::layerNorm, params::layerNorm{1e-5, 0}, {&x, &r, &gamma, &none});
  bytes("layerNorm with residual", norm.best(), 4 * plane);
  bytes("  backward",
        Prepared(Op::layerNormBackward, params::layerNormBackward{},
                 {&norm.out[1], &gamma, &norm.out[2], &x, &r, &dgamma, &none})
            .best(),
        4 * plane);
  Tensor ug = noise({rows, 768}), dy = noise({rows, 384});
  bytes("geglu", Prepared(Op::geglu, params::geglu{0}, {&ug}).best(), 4.5 * plane);
  bytes("  backward", Prepared(Op::gegluBackward, params::gegluBackward{0}, {&ug, &dy}).best(), 7.5 * plane);

  Tensor segment = segments(lengths), angles = noise({180, 64}), qkv = noise({rows, 768});
  bytes("rope", Prepared(Op::rope, params::rope{4, 0}, {&qkv, &segment, &angles}).best(), 4 * plane);
  linears(rows, 256, 768);
  linears(rows, 256, 256);
  linears(rows, 384, 256);

  std::vector<int32_t> ids;
  for (int64_t i = 0; i < rows; ++i) ids.push_back(static_cast<int32_t>(rng() % 50368));
  Tensor id = make<int32_t>({rows}, ids), dTable = noise({50368, 256});
  bytes("embeddingBackward", Prepared(Op::embeddingBackward, params::embeddingBackward{}, {&x, &id, &dTable}).best(),
        3 * plane);
  const int64_t n = 16'800'000;
  Tensor p = noise({n}), g = p, m = p, v = make<float>({n}, std::vector<float>(n, 1e-4f)), one = segments({n}),
         groups = make<float>({1, 2}, std::vector<float>{1e-5f, 0.01f});
  bytes("sumSquares", Prepared(Op::sumSquares, params::sumSquares{}, {&g}).best(), 4.0 * n);
  bytes("adamw",
        Prepared(Op::adamw, params::adamw{1, 0.9, 0.999, 1e-8, 3, 0}, {&p, &g, &m, &v, &none, &one, &groups}).best(),
        28.0 * n);
  return 0;
}
