// The arena on a device that is not there: random sequences against a plain model of what is live, on a backend that
// checks what it is given back.
#include "../../native/runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "seed.h"

namespace lateforge::testing {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// What the backend has handed out; what waits in its stream; and how much it has.
struct World {
  std::map<char*, int64_t> segments;
  std::vector<std::pair<HostCall, void*>> waiting;
  bool atOnce = true;  // host calls run when they are issued
  int64_t has = INT64_MAX, used = 0, limit = 0;
  int wrong = 0;

  void runWaiting(size_t most) {
    most = std::min(most, waiting.size());
    for (size_t i = 0; i < most; ++i) waiting[i].first(waiting[i].second, nullptr, nullptr);
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(most));
  }
};
World world;

Backend makeBackend() {
  Backend backend{};
  backend.name = "nothing";
  backend.memoryLimit = [](int32_t) { return world.limit; };
  backend.allocate = [](int32_t, size_t bytes) -> void* {
    if (world.used + static_cast<int64_t>(bytes) > world.has) return nullptr;
    void* data = nullptr;
    if (posix_memalign(&data, 4096, bytes)) return nullptr;
    world.segments[static_cast<char*>(data)] = static_cast<int64_t>(bytes);
    world.used += static_cast<int64_t>(bytes);
    return data;
  };
  backend.release = [](int32_t, void* data, size_t bytes) {
    const auto found = world.segments.find(static_cast<char*>(data));
    if (found == world.segments.end() || found->second != static_cast<int64_t>(bytes)) {
      ++world.wrong;
      return;
    }
    world.used -= found->second;
    world.segments.erase(found);
    std::free(data);
  };
  backend.hostCall = [](Stream*, HostCall call, void* context) {
    if (world.atOnce)
      call(context, nullptr, nullptr);
    else
      world.waiting.emplace_back(call, context);
  };
  return backend;
}
const Backend backend = makeBackend();

int64_t rounded(int64_t bytes) { return std::max<int64_t>(64, (bytes + 63) / 64 * 64); }

// What must hold of an arena with these live blocks, where every segment that the backend knows is the arena's.
struct Model {
  std::map<char*, int64_t> live;
  int64_t bytes = 0, peak = 0;

  // Free ranges, each as long as it can be, and how much of them are whole segments.
  std::vector<std::pair<char*, int64_t>> ranges(int64_t* whole = nullptr) const {
    std::vector<std::pair<char*, int64_t>> found;
    if (whole) *whole = 0;
    for (const auto& [segment, size] : world.segments) {
      char* at = segment;
      char* const end = segment + size;
      for (auto it = live.lower_bound(segment); it != live.end() && it->first < end; ++it) {
        if (it->first > at) found.emplace_back(at, it->first - at);
        at = it->first + it->second;
      }
      if (at < end) found.emplace_back(at, end - at);
      if (whole && at == segment) *whole += size;
    }
    return found;
  }

  void add(char* data, int64_t size) {
    const auto next = live.lower_bound(data);
    CHECK(next == live.end() || data + size <= next->first, "a block reaches into the next one");
    CHECK(next == live.begin() || std::prev(next)->first + std::prev(next)->second <= data,
          "a block begins in another");
    live[data] = size;
    bytes += size;
    peak = std::max(peak, bytes);
  }
  void remove(char* data) {
    bytes -= live[data];
    live.erase(data);
  }
};

void exact(std::mt19937& random) {
  world = {};
  world.limit = 200 * kMiB;
  Model model;
  {
    Arena arena(&backend, 0, nullptr);
    for (int step = 0; step < 4000; ++step) {
      const unsigned what = random() % 100;
      if (what < 55) {
        // Small ones, large ones, and some that no segment of the usual size holds.
        const int64_t wanted = what < 30 ? random() % 5000 : what < 50 ? random() % (8 * kMiB) : random() % (70 * kMiB);
        const int64_t size = rounded(wanted);
        int64_t whole, least = INT64_MAX;
        for (const auto& [at, range] : model.ranges(&whole))
          if (range >= size) least = std::min(least, range);
        const bool fits = size <= arena.limit() - arena.live() &&
                          (least < INT64_MAX || size <= arena.limit() - (arena.reserved() - whole));
        char* data = static_cast<char*>(arena.allocate(wanted));
        CHECK((data != nullptr) == fits, "%lld bytes: live %lld, reserved %lld, limit %lld",
              static_cast<long long>(size), static_cast<long long>(arena.live()),
              static_cast<long long>(arena.reserved()), static_cast<long long>(arena.limit()));
        if (!data) continue;
        CHECK(reinterpret_cast<uintptr_t>(data) % 64 == 0, "a block at %p", static_cast<void*>(data));
        const auto segment = std::prev(world.segments.upper_bound(data));
        CHECK(data + size <= segment->first + segment->second, "a block reaches over its segment's end");
        if (least < INT64_MAX) {  // from the smallest range that holds it
          char* end = segment->first + segment->second;
          if (const auto next = model.live.upper_bound(data); next != model.live.end())
            end = std::min(end, next->first);
          CHECK(end - data == least, "a range of %lld bytes instead of %lld", static_cast<long long>(end - data),
                static_cast<long long>(least));
        }
        model.add(data, size);
        data[0] = data[size - 1] = 1;  // a sanitizer knows whether it is there
      } else if (what < 96 && !model.live.empty()) {
        auto it = model.live.begin();
        std::advance(it, random() % model.live.size());
        arena.release(it->first);
        model.remove(it->first);
      } else if (what == 96) {
        int64_t whole;
        model.ranges(&whole);
        CHECK(arena.trim() == whole, "trim gave another number of bytes than %lld", static_cast<long long>(whole));
        model.ranges(&whole);
        CHECK(whole == 0, "%lld bytes of free segments after trim", static_cast<long long>(whole));
      } else if (what == 97) {
        arena.resetPeak();
        model.peak = model.bytes;
      } else if (what == 98) {
        arena.setLimit((100 + static_cast<int64_t>(random() % 150)) * kMiB);
      }
      const Arena::Free free = arena.free();
      int64_t total = 0, largest = 0;
      const auto ranges = model.ranges();
      for (const auto& [at, range] : ranges) total += range, largest = std::max(largest, range);
      CHECK(arena.live() == model.bytes && arena.peak() == model.peak && arena.reserved() == world.used,
            "live %lld, peak %lld, reserved %lld; expected %lld, %lld, %lld", static_cast<long long>(arena.live()),
            static_cast<long long>(arena.peak()), static_cast<long long>(arena.reserved()),
            static_cast<long long>(model.bytes), static_cast<long long>(model.peak),
            static_cast<long long>(world.used));
      // As few pieces as there can be: neighbours are always one.
      CHECK(free.bytes == total && free.pieces == static_cast<int64_t>(ranges.size()) && free.largest == largest,
            "%lld bytes free in %lld pieces, expected %lld in %zu", static_cast<long long>(free.bytes),
            static_cast<long long>(free.pieces), static_cast<long long>(total), ranges.size());
    }
  }
  CHECK(world.segments.empty() && world.wrong == 0, "%zu segments left, %d wrong releases", world.segments.size(),
        world.wrong);
}

// Host calls come when the stream comes by, or never. A segment is the device's until then; the arena counts it no
// more.
void inStreamOrder(std::mt19937& random) {
  world = {};
  world.limit = 96 * kMiB;
  world.atOnce = false;
  Model model;
  {
    Arena arena(&backend, 0, nullptr);
    for (int step = 0; step < 3000; ++step) {
      if (random() % 2) {
        const int64_t size = rounded(random() % (random() % 3 ? 3 * kMiB : 60 * kMiB));
        if (char* data = static_cast<char*>(arena.allocate(size))) model.add(data, size);
      } else if (!model.live.empty()) {
        auto it = model.live.begin();
        std::advance(it, random() % model.live.size());
        arena.release(it->first);
        model.remove(it->first);
      }
      if (random() % 8 == 0) world.runWaiting(random() % 3);
      CHECK(arena.reserved() <= arena.limit() && arena.reserved() <= world.used, "reserved %lld",
            static_cast<long long>(arena.reserved()));
      for (const auto& [data, size] : model.live) {
        const auto segment = world.segments.upper_bound(data);
        CHECK(
            segment != world.segments.begin() && data + size <= std::prev(segment)->first + std::prev(segment)->second,
            "a live block lies in a segment that was given back");
      }
    }
  }
  CHECK(world.segments.empty() && world.wrong == 0, "%zu segments left, %d wrong releases", world.segments.size(),
        world.wrong);
}

// What used to wait for the stream: memory is there, but in pieces that are too small.
void scattered() {
  world = {};
  world.limit = 64 * kMiB;
  world.atOnce = false;
  Arena arena(&backend, 0, nullptr);
  std::vector<void*> blocks;
  for (int i = 0; i < 8; ++i) blocks.push_back(arena.allocate(8 * kMiB));
  CHECK(arena.live() == 64 * kMiB && arena.allocate(1) == nullptr, "64 MiB are live");
  for (void* block : blocks) arena.release(block);
  CHECK(arena.free().pieces == 2 && arena.free().largest == 32 * kMiB, "two free segments");
  void* large = arena.allocate(48 * kMiB);
  CHECK(large && arena.reserved() <= 64 * kMiB && world.waiting.size() == 2, "48 MiB while the stream stands still");
  world.runWaiting(9);
  CHECK(world.used == arena.reserved(), "two segments went back");

  // Live blocks between free pieces: no segment is free, and nothing may be moved.
  arena.release(large);
  for (void*& block : blocks) block = arena.allocate(6 * kMiB);
  for (size_t i = 0; i < blocks.size(); i += 2) arena.release(blocks[i]);
  CHECK(arena.allocate(30 * kMiB) == nullptr && arena.limit() - arena.live() >= 30 * kMiB && arena.free().pieces >= 3 &&
            arena.free().largest < 30 * kMiB,
        "30 MiB in %lld pieces", static_cast<long long>(arena.free().pieces));

  // The device itself has no more: free segments make way, once the stream comes by.
  for (size_t i = 1; i < blocks.size(); i += 2) arena.release(blocks[i]);
  world.runWaiting(9);
  world.has = world.used;
  const int64_t reserved = arena.reserved();
  CHECK(arena.allocate(reserved + 1) == nullptr || world.has >= reserved + 1, "the device has no more");
  world.runWaiting(9);
  CHECK(arena.allocate(reserved) != nullptr, "after the stream came by");
  world.runWaiting(9);
}

// A limit is a limit to the byte, also where it is no multiple of anything or smaller than a segment.
void limits() {
  for (const int64_t limit : {int64_t{0}, int64_t{63}, int64_t{64}, int64_t{1000}, 5 * kMiB + 77, 33 * kMiB + 1}) {
    world = {};
    world.limit = limit;
    Arena arena(&backend, 0, nullptr);
    const int64_t most = limit / 64 * 64;
    CHECK(arena.allocate(most + 1) == nullptr && arena.reserved() == 0, "a byte more than %lld",
          static_cast<long long>(limit));
    CHECK((arena.allocate(most) != nullptr) == (most > 0) && arena.reserved() <= limit, "all of %lld",
          static_cast<long long>(limit));
    CHECK(arena.allocate(0) == nullptr, "no room is left of %lld", static_cast<long long>(limit));
  }
  world = {};
  world.limit = INT64_MAX;
  Arena arena(&backend, 0, nullptr);
  world.has = 0;
  CHECK(arena.allocate(kMiB) == nullptr && arena.allocate(INT64_MAX / 4) == nullptr, "a device without memory");
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  std::mt19937 random(testSeed());
  for (int round = 0; round < 3; ++round) {
    exact(random);
    inStreamOrder(random);
  }
  scattered();
  limits();
  return finish("arena");
}
