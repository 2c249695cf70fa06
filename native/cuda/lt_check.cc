// Compares lt.h with NVIDIA's own header, where a toolkit has it. Compiles to nothing.
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include <type_traits>

#include "lt.h"

namespace lateforge::cuda::lt {

static_assert(sizeof(Algo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(Heuristic, workspaceBytes) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(static_cast<int>(kCompute32F) == CUBLAS_COMPUTE_32F);
static_assert(sizeof(ComputeType) == sizeof(cublasComputeType_t) && sizeof(Status) == sizeof(cublasStatus_t));
static_assert(CUBLAS_STATUS_SUCCESS == 0);
static_assert(static_cast<int>(kNone) == CUBLAS_OP_N && static_cast<int>(kTranspose) == CUBLAS_OP_T);
static_assert(sizeof(DescAttribute) == sizeof(cublasLtMatmulDescAttributes_t));
static_assert(static_cast<int>(kDescTransA) == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(static_cast<int>(kDescTransB) == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(static_cast<int>(kDescEpilogue) == CUBLASLT_MATMUL_DESC_EPILOGUE);
static_assert(static_cast<int>(kDescBiasPointer) == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(static_cast<int>(kDescBiasType) == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
static_assert(static_cast<int>(kEpilogueDefault) == CUBLASLT_EPILOGUE_DEFAULT);
static_assert(static_cast<int>(kEpilogueBias) == CUBLASLT_EPILOGUE_BIAS);
static_assert(static_cast<int>(kReductionNone) == CUBLASLT_REDUCTION_SCHEME_NONE);
static_assert(static_cast<int>(kReductionComputeType) == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
static_assert(sizeof(PreferenceAttribute) == sizeof(cublasLtMatmulPreferenceAttributes_t));
static_assert(static_cast<int>(kPreferenceWorkspace) == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(static_cast<int>(kPreferenceReductions) == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(static_cast<int>(kPreferenceAlignmentA) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(static_cast<int>(kPreferenceAlignmentB) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(static_cast<int>(kPreferenceAlignmentC) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(static_cast<int>(kPreferenceAlignmentD) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);

// Arguments: as many, and each as wide (handles and enums have their own names there).
template <class... A>
constexpr bool alike(Status (*)(A...), cublasStatus_t (*)(A...)) {
  return true;
}
template <class... A, class... B>
constexpr bool alike(Status (*)(A...), cublasStatus_t (*)(B...)) {
  static_assert(sizeof...(A) == sizeof...(B));
  return ((sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>) && ...);
}
#define F(name, arguments) static_assert(alike(decltype(Api::name){}, decltype(&cublasLt##name){}));
LF_LT(F)
#undef F

}  // namespace lateforge::cuda::lt
#endif
