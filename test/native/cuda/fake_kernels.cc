// What the runtime takes from kernels and from cuBLASLt, where there is no device: work for fake_cudart.cc.
#include "../../../native/cuda/gemm_lt.h"
#include "../../../native/distributed/nccl/rank_sum.h"
#include "../../../native/distributed/rank_sum.h"
#include "fake_cudart.h"

namespace lateforge::cuda {

void closeGemm(StreamHandle) {}

int32_t combineRanks(Context& context, bool largest, DType dtype, void* out, const void* parts, int64_t count,
                     int32_t ranks) {
  const auto combine = dtype == DType::f64 ? reduceRanks<double> : reduceRanks<float>;
  const Collective kind = largest ? Collective::allReduceMax : Collective::allReduceSum;
  fake::launch(context.stream, [=] { combine(kind, out, static_cast<const char*>(parts), count, ranks); });
  return 0;
}

}  // namespace lateforge::cuda
