// Matrix product in stream order, row-major with leading dimensions: C = alpha · op(A) · op(B) + beta · C (+ bias),
// with op(A) [m, k], op(B) [k, n], C [m, n]. On a GPU by cuBLASLt (gemm_lt.cc), in the host emulation by loops
// (host/gemm.cc).
//
// Sums are kept in float32; float32 inputs are multiplied as float32, never as TF32. The algorithm follows from the
// shape alone and every reduction has an order, so that the same call gives the same bits.
#pragma once

#include <cstdint>

#include "op.h"

namespace lateforge::cuda {

// The dimension that counts tokens: it changes from batch to batch, so one algorithm serves up to 1,024 of its values.
enum class Tokens { none, m, k };

struct Gemm {
  bool transA = false, transB = false;
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t lda = 0;  // of A as it is stored: [m, k], or [k, m] when transposed
  const void* b = nullptr;
  int64_t ldb = 0;
  void* c = nullptr;
  int64_t ldc = 0;
  DType in = DType::f32;   // of A and B: f32, bf16 or f16
  DType out = DType::f32;  // of C and the bias: f32, or the type of A and B
  float alpha = 1, beta = 0;
  const void* bias = nullptr;  // [n], added to every row; takesBias
  Tokens tokens = Tokens::none;
};

// cuBLASLt loads 16 bytes of a bias at once wherever it lies, and has no preference that says how it is aligned.
inline bool takesBias(const void* bias) { return reinterpret_cast<uintptr_t>(bias) % 16 == 0; }

// Returns 0, or writes a message to context.error and returns 1.
int32_t gemm(Context& context, const Gemm& g);

}  // namespace lateforge::cuda
