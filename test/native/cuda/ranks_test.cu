// Sums and maxima over ranks (native/distributed/nccl/rank_sum.cu): the bits of native/distributed/rank_sum.h.
#include <limits>

#include "../../../native/distributed/nccl/rank_sum.h"
#include "../../../native/distributed/rank_sum.h"
#include "device.h"

using namespace lateforge;
using namespace lateforge::testing;

namespace {

template <class T>
void compare(int64_t count, int32_t ranks) {
  std::vector<T> parts(static_cast<size_t>(count * ranks));
  for (T& x : parts) x = static_cast<T>(std::normal_distribution<double>()(generator()));
  if (count > 2) {
    parts[0] = std::numeric_limits<T>::quiet_NaN();
    parts[1] = std::numeric_limits<T>::infinity();
    parts[static_cast<size_t>(count * (ranks - 1) + 2)] = std::numeric_limits<T>::denorm_min();
  }
  for (const bool largest : {false, true}) {
    std::vector<T> want(static_cast<size_t>(count));
    reduceRanks<T>(largest ? Collective::allReduceMax : Collective::allReduceSum, want.data(),
                   reinterpret_cast<const char*>(parts.data()), count, ranks);
    const Buffer<T> from(parts), to(want.size());
    char error[kErrorBytes] = "";
    cuda::Context context{testStream(), 0, nullptr, error};
    const DType dtype = sizeof(T) == 8 ? DType::f64 : DType::f32;
    CHECK(cuda::combineRanks(context, largest, dtype, to.view(dtype, {count}).data, from.view(dtype, {count}).data,
                             count, ranks) == 0,
          "%s", error);
#ifdef __CUDACC__
    CHECK(cudaStreamSynchronize(context.stream) == cudaSuccess, "stream");
#endif
    const std::vector<T> found = to.values();
    for (size_t i = 0; i < want.size(); ++i)
      CHECK(std::memcmp(&found[i], &want[i], sizeof(T)) == 0 || (found[i] != found[i] && want[i] != want[i]),
            "[%zu] of %lld, %d ranks, %s: %.17g, expected %.17g", i, static_cast<long long>(count), ranks,
            largest ? "largest" : "sum", static_cast<double>(found[i]), static_cast<double>(want[i]));
  }
}

void sums() {
  for (const int32_t ranks : {1, 2, 3, 8})
    for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{5}, int64_t{257}, number(1000, 5000)})
      underOrders([=] {
        compare<float>(count, ranks);
        compare<double>(count, ranks);
      });
}

}  // namespace

int main(int argc, char** argv) { return runSuites("sums over ranks", argc, argv, {{"sums", sums}}); }
