// What the host emulation must refuse, and that it reveals kernels which rely on the order of lanes.
#include <set>
#include <stdexcept>

#include "../../../native/cuda/device/async.cuh"
#include "../../../native/cuda/device/block.cuh"
#include "../../../native/cuda/device/mma.cuh"
#include "device.h"

using namespace lateforge;
using namespace lateforge::cuda;
using namespace lateforge::testing;

namespace {

// A kernel from a lambda of its params.
template <class F>
struct Body {
  static constexpr int kThreads = 64, kMinBlocks = 1;
  F f;
  void operator()() const { f(); }
};

template <class F>
void refused(const char* want, const F& f, int64_t sharedBytes = 4096, Grid grid = {2}) {
  underOrders([&] {
    const std::string error = attempt(grid, sharedBytes, Body<F>{f});
    CHECK(error.find(want) != std::string::npos, "expected \"%s\", got \"%s\"", want, error.c_str());
  });
}

template <class F>
void allowed(const F& f, int64_t sharedBytes = 4096) {
  underOrders([&] { run({3}, sharedBytes, Body<F>{f}); });
}

void access() {
  const Buffer<float> memory(size_t{64});
  const Dev<float> x = memory.dev();
  allowed([=] { x[thread()] = 1; });
  refused("access to bytes 256 to 260 of 256", [=] { x[thread() + 1] = 1; });
  refused("access to bytes -4 to 0 of 256", [=] { (void)x[thread() - 1]; });
  refused("no multiple", [=] { (void)loadPack<4>(Dev<const float>(x) + 1); });
  refused("access to bytes 0 to 4 of 0", [] { (void)Dev<float>()[0]; });
  bool thrown = false;
  try {
    (void)x[0];
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown, "device memory is no host memory");
  void* freed = host::allocateDevice(64);
  host::releaseDevice(freed);
  thrown = false;
  try {
    host::requireLive(freed, 64);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown, "freed memory is refused");
}

void sharedMemory() {
  allowed([] { SharedMemory().take<float>(1024)[thread()] = 1; });
  refused("takes 4224 bytes", [] {
    SharedMemory shared;
    shared.take<float>(1);
    shared.take<float>(1024);
  });
  refused("access to bytes", [] { SharedMemory().take<float>(32)[thread()] = 1; });
  const Buffer<float> memory(size_t{1});
  const Dev<float> y = memory.dev();
  allowed([=] {
    const float v = SharedMemory().take<float>(1)[0];
    if (v == v) y[1] = 0;  // out of bounds: fails unless shared memory starts as NaN
  });
}

void meetings() {
  allowed([] { syncThreads(); });
  refused("have returned or wait elsewhere", [] {
    if (thread() == 7) return;
    syncThreads();
  });
  refused("have returned or wait elsewhere", [] {
    if (lane() < 31) shuffleXor(1.0f, 1);
  });
  refused("but other lanes wait at", [] {
    if (lane() < 16)
      shuffleXor(1.0f, 1);
    else
      shuffleXor(1.0f, 1);
  });
  refused("but other lanes wait at", [] {
    if (warp() == 0)
      syncThreads();
    else
      syncThreads();
  });
  // Two uses of one helper are two places.
  refused("but other lanes wait at", [] {
    if (lane() < 16)
      warpSum(1.0f);
    else
      warpSum(1.0f);
  });
  refused("shuffle from lane", [] { shuffle(1.0f, -1); });
}

void copies() {
  const Buffer<float> memory(size_t{64});
  const Dev<const float> x = memory.dev();
  refused("in flight at the end", [=] {
    copyAsync<4>(SharedMemory().take<float>(64) + thread(), x + thread());
    commitCopies();
  });
  refused("no multiple", [=] { copyAsync<16>(SharedMemory().take<float>(64) + 1, x); });
  refused("no multiple", [=] { copyAsync<16>(SharedMemory().take<float>(64), x + 1); });
  refused("no multiple", [=] {
    uint32_t word[1];
    loadMatrix<1>(word, SharedMemory().take<Bf16>(64) + 4);
  });
}

void limits() {
  refused("the grid is too large", [] {}, 0, {1, 65536});
  refused("the grid is too large", [] {}, 0, {int64_t{1} << 31});
  const int64_t most = sharedLimit();
  refused("too much shared memory", [] {}, most + 128);
  allowed([most] { SharedMemory().take<char>(most)[most - 1] = 1; }, most);
  char error[kErrorBytes];
  Context context{nullptr, 0, nullptr, error};
  auto nothing = [] {};
  CHECK(launch(context, {1}, 0, Body<decltype(nothing)>{nothing}) == 1, "a stream is mandatory");
}

// Kernels that are wrong in ways no check sees must at least give different results under different orders.
void races() {
  const Buffer<float> memory(size_t{1});
  const Dev<float> y = memory.dev();
  auto outcomes = [&](auto f, int64_t blocks = 1) {
    std::set<float> all;
    for (uint64_t seed = 0; seed < 30; ++seed) {
      host::setSeed(seed);
      run({blocks}, 4096, Body<decltype(f)>{f});
      const float v = memory.values()[0];
      all.insert(v == v ? v : -1.0f);
    }
    return all.size();
  };
  CHECK(outcomes([=] {
          Shared<float> one = SharedMemory().take<float>(1);
          if (thread() == 0) one[0] = 5;  // no barrier
          if (thread() == 40) y[0] = one[0];
        }) > 1,
        "a missing barrier shows");
  CHECK(outcomes([=] { y[0] = static_cast<float>(thread()); }) > 1, "lanes that write one place show");
  CHECK(outcomes([=] { y[0] = static_cast<float>(blockX()); }, 5) > 1, "blocks that write one place show");
  const Buffer<float> source(std::vector<float>(64, 3.0f));
  const Dev<const float> x = source.dev();
  CHECK(outcomes([=] {
          Shared<float> one = SharedMemory().take<float>(64);
          copyAsync<4>(one + thread(), x + thread());
          commitCopies();
          if (thread() == 0) y[0] = one[0];  // before the wait
          waitCopies<0>();
        }) > 1,
        "a copy that is not waited for shows");
  CHECK(outcomes([=] {
          const float sum = warpSum(1.0f);
          syncThreads();
          if (thread() == 0) y[0] = sum;
        }) == 1,
        "a kernel that is right gives one result");
}

void conflicts() {
  host::takeConflicts();
  run({1}, 4096, Body{[] {
        uint32_t word[4];
        loadMatrix<4>(word, SharedMemory().take<Bf16>(32 * 64) + lane() * 64);
      }});
  CHECK(host::takeConflicts() == 2 * 4 * 7, "rows of 128 bytes lie in the same banks");  // two warps
}

}  // namespace

int main(int argc, char** argv) {
  return runSuites("emulation", argc, argv,
                   {{"access", access},
                    {"sharedMemory", sharedMemory},
                    {"meetings", meetings},
                    {"copies", copies},
                    {"limits", limits},
                    {"races", races},
                    {"conflicts", conflicts}});
}
