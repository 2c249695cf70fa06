// Matrix product for every shape the models need. Row-major with leading dimensions; the order of the sum over k is
// fixed, so the bits depend on neither threads nor on how rows and columns are split.
#pragma once

#include <cstdint>

namespace lateforge::cpu::LF_ISA {

enum class Form { NT, NN, TN };  // A·Bᵀ with A[M,K], B[N,K]; A·B with A[M,K], B[K,N]; Aᵀ·B with A[K,M], B[K,N]

template <class T>
struct Gemm {
  Form form;
  int64_t m, n, k;
  const T* a;
  int64_t lda;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
  bool accumulate = false;  // C += instead of C =
  const T* bias = nullptr;  // added to every row, [n]
};

// On the thread team.
template <class T>
void gemm(const Gemm<T>& g);
// On the calling thread, for use inside tasks.
template <class T>
void gemmSerial(const Gemm<T>& g);

}  // namespace lateforge::cpu::LF_ISA
