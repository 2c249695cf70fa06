// What a peak is measured with does the work that it is counted for.
#include "../../../native/cuda/peak.cuh"
#include "device.h"

using namespace lateforge;
using namespace lateforge::cuda;
using namespace lateforge::testing;

namespace {

void reading() {
  // Every pack is read once a round, whatever the number of blocks: the sums of the blocks are that of the whole.
  for (const int64_t blocks : {1, 3, 8})
    for (const int64_t pieces : {1, 5, 9})
      for (const int64_t rounds : {1, 4}) {
        std::vector<float> values(static_cast<size_t>(pieces * ReadAll::kPiece * 4));
        double want = 0;
        for (float& v : values) want += v = static_cast<float>(number(0, 3));
        const Buffer<float> x(values);
        const Buffer<float> sums(static_cast<size_t>(blocks * ReadAll::kThreads));
        run({blocks}, 0, ReadAll{x.dev<const Pack<float, 4>>(), pieces, rounds, sums.dev()});
        double got = 0;
        for (const float sum : sums.values()) got += sum;
        CHECK(got == want * static_cast<double>(rounds), "%d blocks, %d pieces: %g", static_cast<int>(blocks),
              static_cast<int>(pieces), got);
      }
}

void arithmetic() {
  const Buffer<float> sink(std::vector<float>{7});
  run({1}, 0, MultiplyTiles<Bf16>{sink.dev(), 2});
  run({1}, 0, MultiplyTiles<F16>{sink.dev(), 2});
  run({2}, 0, MultiplyAdd{sink.dev(), 3, 0.5f});
  CHECK(sink.values()[0] == 7, "nothing is written");
}

}  // namespace

int main(int argc, char** argv) {
  return runSuites("cuda peak", argc, argv, {{"reading", reading}, {"arithmetic", arithmetic}});
}
