// A libnccl.so.2 for ranks that are threads of one process, on fake_cudart.cc, by NCCL's own rules for communicators
// that do not block. It does in the background what NCCL does there, moves bytes only while the kernels of both sides
// run, and notes whatever breaks a rule: calls while another is in progress, from another thread or after the end,
// groups that do not close, sends that meet no receive of the same size, memory that is not the device's, streams of
// another device.
#include "fake_nccl.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../../native/distributed/nccl/api.h"
#include "fake_cudart.h"

using namespace lateforge::cuda::nccl;

namespace lateforge::cuda::nccl {

// Never freed, so that a use after the end is noticed.
struct ncclComm {
  uint64_t world;
  int rank, size, device;
  std::thread::id owner = std::this_thread::get_id();
  // Under the mutex.
  Status status = kInProgress;
  int polls = 1;  // until what goes on in the background is done
  std::function<void()> background{};
  bool ready = false, finalized = false, ended = false, aborted = false;
  int groups = 0, running = 0;
};

}  // namespace lateforge::cuda::nccl

namespace {

struct Message {
  const void* data;
  size_t bytes;
  bool taken = false;
};
using Box = std::deque<std::shared_ptr<Message>>;

// Everything that carries one id.
struct World {
  int size = 0;
  std::vector<Comm> members;
  std::map<std::pair<int, int>, Box> boxes;  // [from, to]
};

std::mutex mutex;
std::condition_variable changed;
std::map<uint64_t, World>& worlds = *new std::map<uint64_t, World>;
std::string broken;
int32_t alive = 0, failingRank = -1, failingGroup = 0;
std::mt19937 random_{7};

Status violation(const std::string& what, Status status = kInvalidUsage) {
  std::lock_guard lock(mutex);
  broken += what + "\n";
  return status;
}

struct Operation {
  bool sends;
  void* data;
  size_t bytes;
  int peer;
  Comm comm;
  cudaStream_t stream;
};

thread_local int depth = 0;
thread_local std::vector<Operation> collected;

const char* misused(Comm comm, bool mayBeBusy = false) {
  std::lock_guard lock(mutex);
  if (!comm) return "a null communicator";
  if (comm->ended) return "a communicator that was destroyed or aborted";
  if (comm->owner != std::this_thread::get_id()) return "a communicator of another thread";
  if (!mayBeBusy && comm->status == kInProgress) return "a communicator with something in progress";
  return nullptr;
}

// One kernel: all sends and receives of a group, as long as it takes.
void kernel(Comm comm, const std::vector<Operation>& operations) {
  std::unique_lock lock(mutex);
  World& world = worlds[comm->world];
  std::vector<std::pair<const Operation*, bool>> receives;
  std::vector<std::shared_ptr<Message>> sent;
  for (const Operation& o : operations) {
    if (!o.sends) {
      receives.push_back({&o, false});
      continue;
    }
    sent.push_back(std::make_shared<Message>(Message{o.data, o.bytes}));
    world.boxes[{comm->rank, o.peer}].push_back(sent.back());
  }
  changed.notify_all();
  const bool stuck = comm->status == kSystemError;
  for (;;) {
    bool done = !stuck;
    for (auto& [o, received] : receives) {
      Box& box = world.boxes[{o->peer, comm->rank}];
      if (!received && !box.empty()) {
        if (box.front()->bytes != o->bytes)
          broken += "rank " + std::to_string(comm->rank) + " receives " + std::to_string(o->bytes) + " bytes, rank " +
                    std::to_string(o->peer) + " sends " + std::to_string(box.front()->bytes) + "\n";
        std::memcpy(o->data, box.front()->data, std::min(o->bytes, box.front()->bytes));
        box.front()->taken = received = true;
        box.pop_front();
        changed.notify_all();
      }
      done &= received;
    }
    for (const auto& message : sent) done &= message->taken;
    if (done || comm->aborted) break;
    changed.wait(lock);
  }
  for (auto& [ranks, box] : world.boxes)  // what was aborted is not there for anybody
    if (ranks.first == comm->rank)
      std::erase_if(box, [&](const auto& m) { return std::ranges::find(sent, m) != sent.end(); });
  --comm->running;
  changed.notify_all();
}

Status add(bool sends, void* data, size_t bytes, DataType type, int peer, Comm comm, cudaStream_t stream) {
  if (depth == 0) return violation("a send or receive outside of a group: a deadlock");
  if (const char* what = misused(comm)) return violation(std::string("a send or receive on ") + what);
  if (type != kBytes || peer < 0 || peer >= comm->size)
    return violation("a type or rank that is not there", kInvalidArgument);
  if (!stream || fake::deviceOf(stream) != comm->device) return violation("a stream of another device");
  if (!fake::owns(data, bytes)) return violation("memory that is not the device's", kInvalidArgument);
  collected.push_back({sends, data, bytes, peer, comm, stream});
  return kSuccess;
}

}  // namespace

extern "C" {

Status ncclGetVersion(int* version) {
  *version = 22703;
  return kSuccess;
}
const char* ncclGetErrorString(Status status) {
  return status == kInvalidUsage ? "invalid usage" : status == kSystemError ? "unhandled system error" : "an error";
}
const char* ncclGetLastError(Comm) { return "the pretend network is down"; }

Status ncclGetUniqueId(Id* id) {
  static std::atomic<uint64_t> next{1};
  const uint64_t number = next++;
  std::memset(id, 0, sizeof *id);
  std::memcpy(id, &number, sizeof number);
  std::lock_guard lock(mutex);
  worlds[number] = {};
  return kSuccess;
}

Status ncclCommInitRankConfig(Comm* result, int size, Id id, int rank, Config* config) {
  uint64_t number;
  std::memcpy(&number, &id, sizeof number);
  int device = -1;
  cudaGetDevice(&device);
  if (depth) return violation("a communicator is made inside a group");
  if (config->magic != 0xcafebeef || config->size != sizeof(Config) || config->version < 21400)
    return violation("a config that is none", kInvalidArgument);
  if (config->blocking != 0) return violation("a communicator that blocks: it could not be given up");
  std::lock_guard lock(mutex);
  const auto world = worlds.find(number);
  if (world == worlds.end() || rank < 0 || rank >= size) {
    broken += "an id that nobody made, or a rank that is not there\n";
    return kInvalidArgument;
  }
  World& w = world->second;
  if (w.size == 0) w.size = size;
  for (Comm other : w.members)
    if (other->rank == rank || other->device == device || w.size != size) {
      broken += "a rank or a device comes twice, or sizes differ\n";
      return kInvalidUsage;
    }
  *result = new ncclComm{number, rank, size, device};
  ++alive;
  w.members.push_back(*result);
  return kInProgress;
}

// Also where time passes: what goes on in the background is done after a few of these.
Status ncclCommGetAsyncError(Comm comm, Status* status) {
  if (const char* what = misused(comm, true)) return violation(std::string("asked about ") + what);
  std::function<void()> due;
  {
    std::lock_guard lock(mutex);
    if (comm->status == kInProgress && !comm->ready) {
      const World& world = worlds[comm->world];
      if (static_cast<int>(world.members.size()) == world.size) {
        comm->ready = true;
        comm->status = kSuccess;
      }
    } else if (comm->status == kInProgress && --comm->polls <= 0) {
      due = std::move(comm->background);
      comm->background = nullptr;
      const bool fails = failingRank == comm->rank && comm->groups >= failingGroup;
      comm->status = fails ? kSystemError : kSuccess;
    }
    *status = comm->status;
  }
  if (due) due();
  return kSuccess;
}

Status ncclGroupStart() {
  ++depth;
  return kSuccess;
}

Status ncclGroupEnd() {
  if (depth == 0) return violation("a group ends that never began");
  if (--depth > 0) return kSuccess;
  const std::vector<Operation> operations = std::move(collected);
  collected.clear();
  if (operations.empty()) return kSuccess;
  Comm comm = operations[0].comm;
  int own = 0;
  for (const Operation& o : operations) {
    if (o.comm != comm || o.stream != operations[0].stream)
      return violation("a group of several communicators or streams; allowed, but not what is meant here");
    if (o.peer == comm->rank) own += o.sends ? 1 : -1;
  }
  if (own != 0) return violation("a rank sends to itself without receiving it: a deadlock");
  std::lock_guard lock(mutex);
  ++comm->groups;
  ++comm->running;
  comm->status = kInProgress;
  comm->polls = 1 + static_cast<int>(random_() % 4);
  comm->background = [comm, operations] {
    fake::launch(operations[0].stream, [comm, operations] { kernel(comm, operations); });
  };
  return kInProgress;
}

Status ncclSend(const void* data, size_t bytes, DataType type, int peer, Comm comm, cudaStream_t stream) {
  return add(true, const_cast<void*>(data), bytes, type, peer, comm, stream);
}
Status ncclRecv(void* data, size_t bytes, DataType type, int peer, Comm comm, cudaStream_t stream) {
  return add(false, data, bytes, type, peer, comm, stream);
}

Status ncclCommFinalize(Comm comm) {
  if (const char* what = misused(comm)) return violation(std::string("the end of ") + what);
  std::lock_guard lock(mutex);
  if (comm->finalized || comm->running) broken += "finalized twice, or while a kernel runs\n";
  comm->finalized = true;
  comm->status = kInProgress;
  comm->polls = 2;
  return kInProgress;
}

Status ncclCommDestroy(Comm comm) {
  if (const char* what = misused(comm)) return violation(std::string("the end of ") + what);
  std::lock_guard lock(mutex);
  if (!comm->finalized) broken += "destroyed without being finalized\n";
  comm->ended = true;
  --alive;
  return kSuccess;
}

Status ncclCommAbort(Comm comm) {
  if (const char* what = misused(comm, true)) return violation(std::string("the abort of ") + what);
  std::unique_lock lock(mutex);
  comm->ended = comm->aborted = true;
  --alive;
  if (comm->background) --comm->running;  // was never launched
  changed.notify_all();
  changed.wait(lock, [&] { return comm->running == 0; });
  return kSuccess;
}

const FakeNccl* fakeNccl() {
  static const FakeNccl kTable = {
      [] { return broken.c_str(); },
      [] { return alive; },
      [](int32_t rank, int32_t group) {
        failingRank = rank;
        failingGroup = group;
      },
      [] {
        std::lock_guard lock(mutex);
        broken.clear();
        failingRank = -1;
        worlds.clear();
      },
  };
  return &kTable;
}

}  // extern "C"
