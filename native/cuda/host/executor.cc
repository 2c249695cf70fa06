#include "executor.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "../../runtime/setting.h"
#include "emulation.h"
#include "fiber.h"
#include "pointer.h"

namespace lateforge::cuda::host {
namespace {

constexpr int kWarpLanes = 32;

struct Random {
  uint64_t state;
  // Splitmix64.
  uint64_t operator()() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>((*this)() % static_cast<uint64_t>(n)); }
};

struct Copy {
  void* target;
  const void* source;
  int bytes, validBytes, group;
};

enum class State { ready, waiting, done };

struct Meeting {
  Site site;
  int arrived = 0;
};

struct Block;

struct Lane {
  Fiber fiber;
  Position position;
  Block* block;
  State state;
  const char* waitsIn;
  Site waitsAt;
  std::vector<Copy> copies;
  int group;
};

struct Warp {
  Meeting meeting;
  void* arguments[kWarpLanes];
};

struct Block {
  Lane* lanes;
  std::vector<Warp> warps;
  Meeting barrier;
  char* shared = nullptr;
  int64_t sharedBytes = 0;

  ~Block() { std::free(shared); }
};

struct Launch {
  const Shape& shape;
  void (*body)(const void*);
  const void* kernel;
  char* error;
  Random random;
  bool plain;  // natural orders
  int64_t blockFactor = 1, blockShift = 0;
  bool greedy = false;  // a warp runs until none of its lanes can
  enum { atIssue, atWait, either } landing = atWait;
  bool failed = false;
  Lane* lane = nullptr;  // the one that runs

  int64_t blocks() const { return shape.grid[0] * shape.grid[1] * shape.grid[2]; }
};

bool readEmulationSeed(int64_t& seed, char* error) {
  return readCount("LATEFORGE_EMULATION_SEED", 0, std::numeric_limits<int64_t>::max(), seed, error);
}

// 0 where LATEFORGE_EMULATION_PROFILE names none.
int64_t profileLimit() {
  const std::string_view profile = setting("LATEFORGE_EMULATION_PROFILE");
  if (profile.empty() || profile == "sm_86") return 99 * 1024;
  return profile == "sm_80" ? 163 * 1024 : profile == "sm_90" ? 227 * 1024 : 0;
}

struct Settings {
  uint64_t seed, launches = 0;
  int64_t conflicts = 0;
  Stacks stacks;
  Settings() {
    int64_t wanted = 1;
    char error[kErrorBytes];
    if (!readEmulationSeed(wanted, error)) fail("%s", error);
    seed = static_cast<uint64_t>(wanted);
  }
};

Settings& settings() {
  static thread_local Settings settings;
  return settings;
}

constinit thread_local Launch* running = nullptr;

Lane& lane() {
  if (!running || !running->lane) fail("device code runs outside a kernel");
  return *running->lane;
}

bool same(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

const char* fileOf(const Site& site) {
  const char* slash = std::strrchr(site.file_name(), '/');
  return slash ? slash + 1 : site.file_name();
}

// The running lane waits until the others of the meeting have come. True for the last one.
bool arrive(Meeting& meeting, int expected, const Site& site, const char* what) {
  Lane& me = lane();
  if (meeting.arrived == 0)
    meeting.site = site;
  else if (!same(meeting.site, site))
    fail("%s at %s:%u, but other lanes wait at %s:%u", what, fileOf(site), site.line(), fileOf(meeting.site),
         meeting.site.line());
  if (++meeting.arrived == expected) {
    meeting.arrived = 0;
    return true;
  }
  me.state = State::waiting;
  me.waitsIn = what;
  me.waitsAt = site;
  return false;
}

void land(const Copy& copy) {
  if (copy.validBytes) std::memcpy(copy.target, copy.source, static_cast<size_t>(copy.validBytes));
  std::memset(static_cast<char*>(copy.target) + copy.validBytes, 0, static_cast<size_t>(copy.bytes - copy.validBytes));
}

void runLane(void* argument) {
  auto* me = static_cast<Lane*>(argument);
  running->body(running->kernel);
  if (!me->copies.empty()) fail("%zu asynchronous copies are in flight at the end", me->copies.size());
  me->state = State::done;
}

void startBlock(Block& block, int slot, int slots, int64_t index) {
  const Shape& shape = running->shape;
  if (shape.sharedBytes) std::memset(block.shared, 0xff, static_cast<size_t>(shape.sharedBytes));
  for (Warp& warp : block.warps) warp.meeting.arrived = 0;
  block.barrier.arrived = 0;
  for (int t = 0; t < shape.threads; ++t) {
    Lane& l = block.lanes[t];
    l.position = {t,
                  shape.threads,
                  {index % shape.grid[0], index / shape.grid[0] % shape.grid[1], index / shape.grid[0] / shape.grid[1]},
                  {shape.grid[0], shape.grid[1], shape.grid[2]}};
    l.block = &block;
    l.state = State::ready;
    l.copies.clear();
    l.group = 0;
    l.fiber.start(runLane, &l, settings().stacks.at(slot * shape.threads + t, slots * shape.threads), Stacks::bytes());
  }
}

// Lets the ready lanes of a warp run, each until it waits or ends. Whether any did.
bool runWarp(Lane* lanes) {
  const int order = running->plain ? 0 : static_cast<int>(running->random.below(kWarpLanes));
  bool any = false;
  for (int i = 0; i < kWarpLanes; ++i) {
    Lane& l = lanes[i ^ order];
    if (l.state != State::ready) continue;
    running->lane = &l;
    l.fiber.enter();
    running->lane = nullptr;
    if (running->failed) return false;
    any = true;
  }
  return any;
}

void reportDeadlock(const std::vector<Lane*>& warps) {
  running->failed = true;
  for (Lane* lanes : warps)
    for (int i = 0; i < kWarpLanes; ++i) {
      const Lane& l = lanes[i];
      if (l.state != State::waiting) continue;
      std::snprintf(running->error, kErrorBytes,
                    "lane %d waits in %s at %s:%u for lanes that have returned or wait elsewhere", l.position.thread,
                    l.waitsIn, fileOf(l.waitsAt), l.waitsAt.line());
      return;
    }
}

// Runs the started blocks to their end. `warps` are their warps' first lanes.
void runBlocks(std::vector<Lane*>& warps) {
  for (;;) {
    if (!running->plain)
      for (size_t i = warps.size(); i > 1; --i)
        std::swap(warps[i - 1], warps[static_cast<size_t>(running->random.below(static_cast<int64_t>(i)))]);
    bool any = false, all = true;
    for (Lane* lanes : warps) {
      while (runWarp(lanes)) {
        any = true;
        if (!running->greedy) break;
      }
      if (running->failed) return;
      for (int i = 0; i < kWarpLanes; ++i) all = all && lanes[i].state == State::done;
    }
    if (all) return;
    if (!any) return reportDeadlock(warps);
  }
}

}  // namespace

void fail(const char* format, ...) {
  char message[kErrorBytes / 2];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (!running || !running->lane) throw std::runtime_error(message);
  const Position& p = running->lane->position;
  std::snprintf(running->error, kErrorBytes, "block (%lld, %lld, %lld) lane %d: %s", static_cast<long long>(p.block[0]),
                static_cast<long long>(p.block[1]), static_cast<long long>(p.block[2]), p.thread, message);
  running->failed = true;
  running->lane->fiber.leave(true);
  std::abort();  // nobody enters it again
}

const Position& here() { return lane().position; }

void requireKernel() { lane(); }

void requireShared(uintptr_t address, int64_t bytes) {
  const Block& block = *lane().block;
  const auto base = reinterpret_cast<uintptr_t>(block.shared);
  if (address < base || address + static_cast<uintptr_t>(bytes) > base + static_cast<uintptr_t>(block.sharedBytes))
    fail("access to the shared memory of another block or launch");
}

uintptr_t sharedBase() { return reinterpret_cast<uintptr_t>(lane().block->shared); }
int64_t sharedBytes() { return lane().block->sharedBytes; }

void meetWarp(const Site& site, const char* what, void* argument, Resolve resolve) {
  Lane& me = lane();
  Warp& warp = me.block->warps[static_cast<size_t>(me.position.thread / kWarpLanes)];
  warp.arguments[me.position.thread % kWarpLanes] = argument;
  if (!arrive(warp.meeting, kWarpLanes, site, what)) return me.fiber.leave();
  resolve(warp.arguments);
  Lane* lanes = me.block->lanes + me.position.thread / kWarpLanes * kWarpLanes;
  for (int i = 0; i < kWarpLanes; ++i) lanes[i].state = State::ready;
}

void meetBlock(const Site& site) {
  Lane& me = lane();
  if (!arrive(me.block->barrier, me.position.threads, site, "syncThreads")) return me.fiber.leave();
  for (int i = 0; i < me.position.threads; ++i) me.block->lanes[i].state = State::ready;
}

void copyAsync(void* target, const void* source, int bytes, int validBytes) {
  const Copy copy{target, source, bytes, validBytes, lane().group};
  const bool now =
      running->landing == Launch::atIssue || (running->landing == Launch::either && running->random.below(2) == 0);
  if (now)
    land(copy);
  else
    std::memset(target, 0xff, static_cast<size_t>(bytes));
  lane().copies.push_back(now ? Copy{target, nullptr, 0, 0, copy.group} : copy);
}

void commitCopies() { ++lane().group; }

void waitCopies(int groupsInFlight) {
  Lane& me = lane();
  std::erase_if(me.copies, [&](const Copy& copy) {
    if (copy.group >= me.group - groupsInFlight) return false;
    land(copy);
    return true;
  });
}

void countConflicts(const uintptr_t* addresses) {
  int most = 1;
  for (int i = 0; i < 8; ++i) {
    int rows = 1;  // different rows in the banks of row i
    for (int k = 0; k < 8; ++k) rows += addresses[k] != addresses[i] && addresses[k] / 16 % 8 == addresses[i] / 16 % 8;
    most = rows > most ? rows : most;
  }
  settings().conflicts += most - 1;
}

int64_t takeConflicts() { return std::exchange(settings().conflicts, 0); }

int64_t sharedLimit() {
  const int64_t limit = profileLimit();
  if (limit == 0) fail("LATEFORGE_EMULATION_PROFILE is none of sm_80, sm_86, sm_90");
  return limit;
}

bool checkSettings(char* error) {
  int64_t seed;
  if (!readEmulationSeed(seed, error)) return false;
  return profileLimit() > 0 || refuseSetting("LATEFORGE_EMULATION_PROFILE", "sm_80, sm_86 or sm_90", error);
}

void setSeed(uint64_t seed) {
  settings().seed = seed;
  settings().launches = 0;
}

bool execute(const Shape& shape, void (*body)(const void*), const void* kernel, char* error) {
  Settings& own = settings();
  Launch launch{.shape = shape,
                .body = body,
                .kernel = kernel,
                .error = error,
                .random = {own.seed * 0x2545f4914f6cdd1du + ++own.launches},
                .plain = own.seed == 0};
  const int64_t blocks = launch.blocks();
  int slots = 1;
  if (!launch.plain) {
    slots = static_cast<int>(1 + launch.random.below(2));
    launch.greedy = launch.random.below(2) == 0;
    launch.landing = static_cast<decltype(launch.landing)>(launch.random.below(3));
    launch.blockShift = launch.random.below(blocks);
    do launch.blockFactor = 1 + launch.random.below(blocks);
    while (std::gcd(launch.blockFactor, blocks) != 1);
  }
  auto lanes = std::make_unique<Lane[]>(static_cast<size_t>(slots * shape.threads));
  Block active[2];
  for (int s = 0; s < slots; ++s) {
    active[s].lanes = lanes.get() + s * shape.threads;
    active[s].warps.resize(static_cast<size_t>(shape.threads / kWarpLanes));
    active[s].sharedBytes = shape.sharedBytes;
    void* memory = nullptr;
    if (shape.sharedBytes && posix_memalign(&memory, 128, static_cast<size_t>(shape.sharedBytes))) std::abort();
    active[s].shared = static_cast<char*>(memory);
  }
  running = &launch;
  std::vector<Lane*> warps;
  for (int64_t first = 0; first < blocks && !launch.failed; first += slots) {
    warps.clear();
    for (int s = 0; s < slots && first + s < blocks; ++s) {
      // A permutation of the blocks: the factor shares no divisor with their number.
      const auto index =
          static_cast<int64_t>((static_cast<unsigned __int128>(first + s) * static_cast<uint64_t>(launch.blockFactor) +
                                static_cast<uint64_t>(launch.blockShift)) %
                               static_cast<uint64_t>(blocks));
      startBlock(active[s], s, slots, index);
      for (int w = 0; w < shape.threads / kWarpLanes; ++w) warps.push_back(active[s].lanes + w * kWarpLanes);
    }
    runBlocks(warps);
  }
  running = nullptr;
  if (launch.failed) own.stacks.forget();
  return !launch.failed;
}

}  // namespace lateforge::cuda::host
