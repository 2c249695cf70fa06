// gemm.h in the host emulation: every element is one sum in float64, rounded once. What cuBLASLt adds in another order
// differs from it by rounding only.
#include "../gemm.h"

#include <cstdio>
#include <vector>

#include "../device/number.cuh"
#include "executor.h"

namespace lateforge::cuda {
namespace {

// The host address of device memory, checked.
template <class T>
T* onHost(const void* data, int64_t count) {
  return reinterpret_cast<T*>(host::requireLive(data, count * static_cast<int64_t>(sizeof(T))) - host::kDeviceBit);
}

// rows x columns of a matrix that is stored [rows, columns], or [columns, rows] when transposed, as [rows, columns].
template <class T>
std::vector<float> gather(const void* data, bool transposed, int64_t rows, int64_t columns, int64_t ld) {
  std::vector<float> all(static_cast<size_t>(rows * columns));
  if (all.empty()) return all;
  const int64_t storedRows = transposed ? columns : rows, storedColumns = transposed ? rows : columns;
  const T* from = onHost<const T>(data, (storedRows - 1) * ld + storedColumns);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      all[static_cast<size_t>(r * columns + c)] = widen(from[transposed ? c * ld + r : r * ld + c]);
  return all;
}

// C [m, n] = alpha · op(A) [m, k] · op(B) [k, n] + beta · C + bias [n].
template <class In, class Out>
int32_t multiply(const Gemm& g) {
  const std::vector<float> a = gather<In>(g.a, g.transA, g.m, g.k, g.lda);
  const std::vector<float> b = gather<In>(g.b, !g.transB, g.n, g.k, g.ldb);  // by column
  Out* c = onHost<Out>(g.c, (g.m - 1) * g.ldc + g.n);
  const Out* bias = g.bias ? onHost<const Out>(g.bias, g.n) : nullptr;
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < g.n; ++j) {
      const float *row = a.data() + i * g.k, *column = b.data() + j * g.k;
      double sum = 0;
      for (int64_t k = 0; k < g.k; ++k) sum += static_cast<double>(row[k]) * static_cast<double>(column[k]);
      Out& out = c[i * g.ldc + j];
      double value = static_cast<double>(g.alpha) * sum;
      if (g.beta != 0) value += static_cast<double>(g.beta) * static_cast<double>(widen(out));
      if (bias) value += static_cast<double>(widen(bias[j]));
      out = narrow<Out>(static_cast<float>(value));
    }
  return 0;
}

template <class In>
int32_t multiplyInto(const Gemm& g, char* error) {
  if (g.out == DType::f32) return multiply<In, float>(g);
  if (g.out == g.in) return multiply<In, In>(g);
  std::snprintf(error, kErrorBytes, "a product of %s cannot be %s", nameOf(g.in), nameOf(g.out));
  return 1;
}

}  // namespace

int32_t gemm(Context& context, const Gemm& g) {
  if (g.m == 0 || g.n == 0) return 0;
  if (!takesBias(g.bias)) {
    std::snprintf(context.error, kErrorBytes, "the bias is not aligned to 16 bytes");
    return 1;
  }
  if (g.in == DType::f32) return multiplyInto<float>(g, context.error);
  if (g.in == DType::bf16) return multiplyInto<Bf16>(g, context.error);
  if (g.in == DType::f16) return multiplyInto<F16>(g, context.error);
  std::snprintf(context.error, kErrorBytes, "no products of %s", nameOf(g.in));
  return 1;
}

}  // namespace lateforge::cuda
