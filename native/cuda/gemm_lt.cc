// gemm.h by cuBLASLt. It is column-major, so it is asked for Cᵀ = op(B)ᵀ · op(A)ᵀ: A and B change places, m and n too,
// and the bias of a column of C is the bias of a row there, which is what its epilogue adds.
#include "gemm_lt.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "../runtime/round.h"
#include "gemm.h"
#include "lt.h"
#include "runtime/library.h"

namespace lateforge::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;
constexpr int64_t kTokenStep = 1024;

struct LtLibrary {
  lt::Api api;
  Library file;
  bool complete = false;
};

const LtLibrary& library() {
  static const LtLibrary* opened = [] {
    auto* l = new LtLibrary;
    l->file = openLibrary({"libcublasLt.so.13", "libcublasLt.so.12"});
    l->complete = l->file.handle != nullptr;
#define F(name, arguments) l->complete = l->complete && l->file.bind(l->api.name, "cublasLt" #name);
    LF_LT(F)
#undef F
    l->complete = l->complete && l->file.bind(l->api.GetVersion, "cublasLtGetVersion") &&
                  l->file.bind(l->api.GetStatusString, "cublasLtGetStatusString");
    return l;
  }();
  return *opened;
}

// Everything an algorithm may depend on.
using Key =
    std::tuple<bool, bool, int64_t, int64_t, int64_t, int, int, bool, bool, int, int, int, int64_t, int64_t, int64_t>;

cudaDataType_t typeOf(DType type) {
  return type == DType::bf16 ? CUDA_R_16BF : type == DType::f16 ? CUDA_R_16F : CUDA_R_32F;
}

// The largest power of two up to 16 that divides the address.
int alignmentOf(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  return static_cast<int>(std::min<uintptr_t>(16, address & (~address + 1)));
}

int64_t roundedTokens(int64_t n) { return roundUp(n, kTokenStep); }

}  // namespace

class LtHandle {
 public:
  static LtHandle* open(char* error);
  ~LtHandle() {
    cudaFree(workspace_);
    if (handle_) api_.Destroy(handle_);
  }

  int32_t multiply(cudaStream_t stream, const Gemm& g, char* error);

 private:
  // The descriptors of one call; freed with it.
  struct Problem {
    explicit Problem(const lt::Api& api) : api(api) {}
    ~Problem() {
      if (desc) api.MatmulDescDestroy(desc);
      for (lt::Layout layout : {a, b, c})
        if (layout) api.MatrixLayoutDestroy(layout);
    }
    const lt::Api& api;
    lt::Desc desc = nullptr;
    lt::Layout a = nullptr, b = nullptr, c = nullptr;
  };

  explicit LtHandle(const lt::Api& api) : api_(api) {}
  bool describe(const Gemm& g, Problem& p, char* error);
  bool choose(const Gemm& g, lt::Algo& algo, char* error);
  bool algorithm(const Gemm& g, const Problem& exact, lt::Algo& algo, char* error);
  bool fine(lt::Status status, const char* what, char* error) {
    if (status != 0) std::snprintf(error, kErrorBytes, "cuBLASLt, %s: %s", what, api_.GetStatusString(status));
    return status == 0;
  }

  const lt::Api& api_;
  lt::Handle handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Key, lt::Algo> chosen_;
};

LtHandle* LtHandle::open(char* error) {
  const LtLibrary& l = library();
  if (!l.complete) {
    std::snprintf(error, kErrorBytes, "cuBLASLt is needed: %s", l.file.reason.c_str());
    return nullptr;
  }
  auto* self = new LtHandle(l.api);
  const cudaError_t code = cudaMalloc(&self->workspace_, kWorkspaceBytes);
  if (code != cudaSuccess) std::snprintf(error, kErrorBytes, "no workspace for cuBLASLt: %s", cudaGetErrorString(code));
  if (code != cudaSuccess || !self->fine(l.api.Create(&self->handle_), "create", error)) {
    delete self;
    return nullptr;
  }
  return self;
}

bool LtHandle::describe(const Gemm& g, Problem& p, char* error) {
  const int32_t transA = g.transB ? lt::kTranspose : lt::kNone, transB = g.transA ? lt::kTranspose : lt::kNone;
  const cudaDataType_t in = typeOf(g.in), out = typeOf(g.out);
  auto set = [&](lt::DescAttribute name, const auto& value) {
    return fine(api_.MatmulDescSetAttribute(p.desc, name, &value, sizeof value), "describe", error);
  };
  if (!fine(api_.MatmulDescCreate(&p.desc, lt::kCompute32F, CUDA_R_32F), "describe", error) ||
      !set(lt::kDescTransA, transA) || !set(lt::kDescTransB, transB))
    return false;
  if (g.bias) {
    const uint32_t epilogue = lt::kEpilogueBias;
    const int32_t type = out;
    if (!set(lt::kDescEpilogue, epilogue) || !set(lt::kDescBiasType, type) || !set(lt::kDescBiasPointer, g.bias))
      return false;
  }
  auto layout = [&](lt::Layout& l, cudaDataType_t type, int64_t rows, int64_t columns, int64_t ld) {
    return fine(api_.MatrixLayoutCreate(&l, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), ld),
                "layout", error);
  };
  // As they are stored: a row here is a column there.
  return layout(p.a, in, g.transB ? g.k : g.n, g.transB ? g.n : g.k, g.ldb) &&
         layout(p.b, in, g.transA ? g.m : g.k, g.transA ? g.k : g.m, g.lda) && layout(p.c, out, g.n, g.m, g.ldc);
}

// Asks the heuristic. Split sums are allowed where they are added in order and in float32.
bool LtHandle::choose(const Gemm& g, lt::Algo& algo, char* error) {
  Problem p(api_);
  if (!describe(g, p, error)) return false;
  lt::Preference preference = nullptr;
  if (!fine(api_.MatmulPreferenceCreate(&preference), "preference", error)) return false;
  auto set = [&](lt::PreferenceAttribute name, auto value) {
    return fine(api_.MatmulPreferenceSetAttribute(preference, name, &value, sizeof value), "preference", error);
  };
  const uint32_t reductions = lt::kReductionNone | lt::kReductionComputeType;
  lt::Heuristic found{};
  int count = 0;
  bool ok = set(lt::kPreferenceWorkspace, kWorkspaceBytes) && set(lt::kPreferenceReductions, reductions) &&
            set(lt::kPreferenceAlignmentA, static_cast<uint32_t>(alignmentOf(g.b))) &&
            set(lt::kPreferenceAlignmentB, static_cast<uint32_t>(alignmentOf(g.a))) &&
            set(lt::kPreferenceAlignmentC, static_cast<uint32_t>(alignmentOf(g.c))) &&
            set(lt::kPreferenceAlignmentD, static_cast<uint32_t>(alignmentOf(g.c))) &&
            fine(api_.MatmulAlgoGetHeuristic(handle_, p.desc, p.a, p.b, p.c, p.c, preference, 1, &found, &count),
                 "heuristic", error);
  api_.MatmulPreferenceDestroy(preference);
  if (ok && (count == 0 || found.state != 0)) {
    std::snprintf(error, kErrorBytes, "cuBLASLt knows no algorithm for [%lld, %lld, %lld]", static_cast<long long>(g.m),
                  static_cast<long long>(g.n), static_cast<long long>(g.k));
    ok = false;
  }
  algo = found.algo;
  return ok;
}

// The algorithm of the shape with its tokens rounded up, if it also takes the exact shape; else that of the exact one.
bool LtHandle::algorithm(const Gemm& g, const Problem& exact, lt::Algo& algo, char* error) {
  Gemm shape = g;
  // Only where the tokens are rows of what is stored: leading dimensions stay valid.
  if (g.tokens == Tokens::m && !g.transA) shape.m = roundedTokens(g.m);
  if (g.tokens == Tokens::k && g.transA && !g.transB) shape.k = roundedTokens(g.k);
  for (const Gemm& wanted : {shape, g}) {
    const Key key{g.transA,
                  g.transB,
                  wanted.m,
                  wanted.n,
                  wanted.k,
                  static_cast<int>(g.in),
                  static_cast<int>(g.out),
                  g.bias != nullptr,
                  g.beta != 0,
                  alignmentOf(g.a),
                  alignmentOf(g.b),
                  alignmentOf(g.c),
                  g.lda,
                  g.ldb,
                  g.ldc};
    auto it = chosen_.find(key);
    if (it == chosen_.end()) {
      lt::Algo found;
      if (!choose(wanted, found, error)) return false;
      it = chosen_.emplace(key, found).first;
    }
    lt::Heuristic checked{};
    algo = it->second;
    if (api_.MatmulAlgoCheck(handle_, exact.desc, exact.a, exact.b, exact.c, exact.c, &algo, &checked) == 0 &&
        checked.workspaceBytes <= kWorkspaceBytes)
      return true;
  }
  std::snprintf(error, kErrorBytes, "cuBLASLt takes none of its algorithms for [%lld, %lld, %lld]",
                static_cast<long long>(g.m), static_cast<long long>(g.n), static_cast<long long>(g.k));
  return false;
}

int32_t LtHandle::multiply(cudaStream_t stream, const Gemm& g, char* error) {
  Problem p(api_);
  lt::Algo algo;
  if (!describe(g, p, error) || !algorithm(g, p, algo, error)) return 1;
  return !fine(api_.Matmul(handle_, p.desc, &g.alpha, g.b, p.a, g.a, p.b, &g.beta, g.c, p.c, g.c, p.c, &algo,
                           workspace_, kWorkspaceBytes, stream),
               "product", error);
}

namespace {

// A stream's own: products of one stream never run at the same time, so they share a workspace.
std::mutex handlesMutex;
// Never destroyed: streams may still run when the process ends.
auto& handles = *new std::map<StreamHandle, std::unique_ptr<LtHandle>>;

}  // namespace

void closeGemm(StreamHandle stream) {
  std::lock_guard lock(handlesMutex);
  handles.erase(stream);
}

std::string describeLt() {
  const LtLibrary& l = library();
  return l.complete ? l.file.path + ", version " + std::to_string(l.api.GetVersion()) : l.file.reason;
}

int32_t gemm(Context& context, const Gemm& g) {
  if (g.m == 0 || g.n == 0 || (g.k == 0 && g.beta == 1 && !g.bias)) return 0;
  if (!takesBias(g.bias)) {
    std::snprintf(context.error, kErrorBytes, "the bias is not aligned to 16 bytes");
    return 1;
  }
  LtHandle* lt;
  {
    std::lock_guard lock(handlesMutex);
    std::unique_ptr<LtHandle>& mine = handles[context.stream];
    if (!mine) mine.reset(LtHandle::open(context.error));
    lt = mine.get();
  }
  return lt ? lt->multiply(context.stream, g, context.error) : 1;
}

}  // namespace lateforge::cuda
