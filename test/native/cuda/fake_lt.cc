// A libcublasLt.so.13 that multiplies on the host, by cuBLASLt's own rules: column-major, what is stored and how it is
// read apart, the bias along rows. gemm_lt.cc is tested against it where there is no GPU. It refuses what the real one
// would: leading dimensions below the rows, shapes that do not meet, an algorithm that was chosen for another problem.
#include <cstring>
#include <vector>

#include "../../../native/cuda/lt.h"

using namespace lateforge::cuda::lt;

namespace lateforge::cuda::lt {

struct DescOpaque {
  int32_t transA = 0, transB = 0, biasType = -1;
  uint32_t epilogue = kEpilogueDefault;
  const void* bias = nullptr;
};
struct LayoutOpaque {
  cudaDataType_t type;
  int64_t rows, columns, ld;
};
struct PreferenceOpaque {
  size_t workspace = 0;
  uint32_t reductions = 7;
};

}  // namespace lateforge::cuda::lt

namespace {

constexpr int kInvalid = 7;

// The host emulation's device addresses have bit 62 set.
template <class T>
T* onHost(const void* p) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(p) & ~(uintptr_t{1} << 62));
}

float load(const void* data, cudaDataType_t type, int64_t i) {
  if (type == CUDA_R_32F) return onHost<const float>(data)[i];
  const uint16_t bits = onHost<const uint16_t>(data)[i];
  if (type == CUDA_R_16BF) return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
  return static_cast<float>(__builtin_bit_cast(_Float16, bits));
}
void store(void* data, cudaDataType_t type, int64_t i, float value) {
  if (type == CUDA_R_32F)
    onHost<float>(data)[i] = value;
  else if (type == CUDA_R_16BF)
    onHost<uint16_t>(data)[i] = static_cast<uint16_t>((__builtin_bit_cast(uint32_t, value) + 0x7fff) >> 16);
  else
    onHost<uint16_t>(data)[i] = __builtin_bit_cast(uint16_t, static_cast<_Float16>(value));
}

struct Size {
  int64_t m, n, k;
};

bool sizeOf(const DescOpaque& d, const LayoutOpaque& a, const LayoutOpaque& b, const LayoutOpaque& c, Size& size) {
  for (const LayoutOpaque* l : {&a, &b, &c})
    if (l->rows < 1 || l->columns < 1 || l->ld < l->rows) return false;
  size = {d.transA ? a.columns : a.rows, d.transB ? b.rows : b.columns, d.transA ? a.rows : a.columns};
  return size.k == (d.transB ? b.columns : b.rows) && size.m == c.rows && size.n == c.columns && a.type == b.type;
}

// What an algorithm was chosen for.
Algo chosen(const DescOpaque& d, const LayoutOpaque& a, const LayoutOpaque& c, const Size& size) {
  return {{static_cast<uint64_t>(d.transA), static_cast<uint64_t>(d.transB), d.epilogue, static_cast<uint64_t>(a.type),
           static_cast<uint64_t>(c.type), static_cast<uint64_t>(size.m), static_cast<uint64_t>(size.n),
           static_cast<uint64_t>(size.k)}};
}

}  // namespace

extern "C" {

Status cublasLtCreate(Handle* handle) {
  *handle = reinterpret_cast<Handle>(uintptr_t{1});
  return 0;
}
Status cublasLtDestroy(Handle) { return 0; }
size_t cublasLtGetVersion() { return 130000; }
const char* cublasLtGetStatusString(Status) { return "the problem is not valid"; }
Status cublasLtMatmulDescCreate(Desc* desc, ComputeType compute, cudaDataType_t scale) {
  *desc = new DescOpaque;
  return compute == kCompute32F && scale == CUDA_R_32F ? 0 : kInvalid;
}
Status cublasLtMatmulDescDestroy(Desc desc) {
  delete desc;
  return 0;
}
Status cublasLtMatmulDescSetAttribute(Desc desc, DescAttribute name, const void* value, size_t bytes) {
  void* target = name == kDescTransA        ? static_cast<void*>(&desc->transA)
                 : name == kDescTransB      ? static_cast<void*>(&desc->transB)
                 : name == kDescEpilogue    ? static_cast<void*>(&desc->epilogue)
                 : name == kDescBiasType    ? static_cast<void*>(&desc->biasType)
                 : name == kDescBiasPointer ? static_cast<void*>(&desc->bias)
                                            : nullptr;
  if (!target || bytes != (name == kDescBiasPointer ? 8 : 4)) return kInvalid;
  std::memcpy(target, value, bytes);
  return 0;
}
Status cublasLtMatrixLayoutCreate(Layout* layout, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t ld) {
  *layout = new LayoutOpaque{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), ld};
  return 0;
}
Status cublasLtMatrixLayoutDestroy(Layout layout) {
  delete layout;
  return 0;
}
Status cublasLtMatmulPreferenceCreate(Preference* preference) {
  *preference = new PreferenceOpaque;
  return 0;
}
Status cublasLtMatmulPreferenceDestroy(Preference preference) {
  delete preference;
  return 0;
}
Status cublasLtMatmulPreferenceSetAttribute(Preference p, PreferenceAttribute name, const void* value, size_t bytes) {
  if (bytes != (name == kPreferenceWorkspace ? 8 : 4)) return kInvalid;
  if (name == kPreferenceWorkspace) std::memcpy(&p->workspace, value, bytes);
  if (name == kPreferenceReductions) std::memcpy(&p->reductions, value, bytes);
  return 0;
}
Status cublasLtMatmulAlgoGetHeuristic(Handle, Desc d, Layout a, Layout b, Layout c, Layout, Preference p, int wanted,
                                      Heuristic* result, int* count) {
  Size size;
  // Sums that are split without an order of their own would change the bits from run to run.
  if (!sizeOf(*d, *a, *b, *c, size) || p->workspace == 0 || p->reductions != kReductionComputeType || wanted < 1)
    return kInvalid;
  *result = {};
  result->algo = chosen(*d, *a, *c, size);
  *count = 1;
  return 0;
}
// An algorithm serves smaller problems of the same kind, up to 1,024 rows fewer.
Status cublasLtMatmulAlgoCheck(Handle, Desc d, Layout a, Layout b, Layout c, Layout, const Algo* algo, Heuristic*) {
  Size size;
  if (!sizeOf(*d, *a, *b, *c, size)) return kInvalid;
  const Algo mine = chosen(*d, *a, *c, size);
  if (std::memcmp(mine.data, algo->data, 5 * sizeof(uint64_t)) != 0) return kInvalid;
  for (int i = 5; i < 8; ++i)
    if (algo->data[i] < mine.data[i] || algo->data[i] - mine.data[i] >= 1024) return kInvalid;
  return 0;
}
Status cublasLtMatmul(Handle handle, Desc d, const void* alpha, const void* a, Layout la, const void* b, Layout lb,
                      const void* beta, const void* c, Layout lc, void* out, Layout ld, const Algo* algo,
                      void* workspace, size_t, cudaStream_t stream) {
  Size size{};
  if (cublasLtMatmulAlgoCheck(handle, d, la, lb, lc, ld, algo, nullptr) || !workspace || !stream || c != out)
    return kInvalid;
  sizeOf(*d, *la, *lb, *lc, size);
  const bool bias = d->epilogue == kEpilogueBias;
  if (bias && (!d->bias || d->biasType != lc->type || reinterpret_cast<uintptr_t>(d->bias) % 16)) return kInvalid;
  const float by = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  for (int64_t j = 0; j < size.n; ++j)
    for (int64_t i = 0; i < size.m; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < size.k; ++k)
        sum += static_cast<double>(load(a, la->type, d->transA ? k + i * la->ld : i + k * la->ld)) *
               static_cast<double>(load(b, lb->type, d->transB ? j + k * lb->ld : k + j * lb->ld));
      double value = by * sum;
      if (keep != 0) value += keep * load(c, lc->type, i + j * lc->ld);
      if (bias) value += load(d->bias, lc->type, i);
      store(out, lc->type, i + j * lc->ld, static_cast<float>(value));
    }
  return 0;
}

}  // extern "C"
