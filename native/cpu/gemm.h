// Matrix product for every shape the models need. Row-major with leading dimensions. The order of every sum follows
// from the shape alone, so the bits depend on neither the number of threads nor on timing.
#pragma once

#include "factors.h"

namespace lateforge::cpu {

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
  bool accumulate = false;           // C += instead of C =
  const T* bias = nullptr;           // added to every row, [n]
  Factors factors = Factors::exact;  // of avx512 alone, and where bfloat16Here()
};

// `gemm` runs on the thread team, in `bytes` of memory aligned to 64, at least what `gemmWorkspace` said of its shape:
// the team may have grown since. For float and double.
#define LF_DECLARE_GEMM(isa)                                         \
  namespace isa {                                                    \
  template <class T>                                                 \
  int64_t gemmWorkspace(Form form, int64_t m, int64_t n, int64_t k); \
  template <class T>                                                 \
  void gemm(const Gemm<T>& g, void* workspace, int64_t bytes);       \
  }
LF_DECLARE_GEMM(portable)
#if defined(__x86_64__)
LF_DECLARE_GEMM(avx2)
LF_DECLARE_GEMM(avx512)
#endif
#undef LF_DECLARE_GEMM

}  // namespace lateforge::cpu
