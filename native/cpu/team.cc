#include "team.h"

#include <algorithm>
#include <string>
#include <utility>

#include "../runtime/backend.h"
#include "limits.h"

namespace lateforge::cpu {
namespace {

// Pauses before a waiting thread sleeps: about 20 µs, longer than the gap between two ops of a training step.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // about as long as x86's pause; "yield" is over at once on most of them
#endif
}

}  // namespace

thread_local bool Team::inside_ = false;
thread_local int Team::followed_ = 0;

Team& Team::instance() {
  static Team* team = new Team;
  return *team;
}

Team::Team() {
  int64_t threads = 1;
  char error[kErrorBytes];
  if (!readThreads(threads, error)) threads = platform::grantedThreads();  // chooseIsa has refused, or will
  if (int64_t nice; readNice(nice, error)) nice_ = static_cast<int>(nice);
  start(static_cast<int>(threads) - 1);
}

void Team::followNice() {
  if (followed_ == nice_) return;
  followed_ = nice_;
  std::string problem;
  platform::setNice(followed_, problem);
}

void Team::setThreads(int threads) {
  std::lock_guard lock(callers_);
  stop();
  start(std::max(1, threads) - 1);
}

void Team::start(int workers) {
  try {
    workers_.reserve(static_cast<size_t>(workers));
    for (int i = 0; i < workers; ++i) workers_.emplace_back([this, i] { work(i + 1); });
  } catch (const std::exception&) {
    // The system grants no more threads: the team is what has started.
  }
  shares_ = std::vector<Share>(workers_.size() + 1);
  threads_ = static_cast<int>(workers_.size()) + 1;
}

void Team::stop() {
  stopping_ = true;
  ++epoch_;
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  threads_ = 1;
  stopping_ = false;
}

void Team::run(int64_t tasks, int slots, Task task, void* context) {
  std::lock_guard lock(callers_);
  task_ = task;
  context_ = context;
  slots_ = static_cast<int>(std::min<int64_t>({tasks, slots, threads_}));
  for (int i = 0; i < slots_; ++i) {
    shares_[i].next = tasks * i / slots_;
    shares_[i].end = tasks * (i + 1) / slots_;
  }
  open_ = true;
  ++epoch_;
  epoch_.notify_all();
  inside_ = true;
  claim(0);
  inside_ = false;
  // Every task is claimed by now; a worker that comes later finds the job closed and leaves without looking at it.
  open_ = false;
  for (int spin = 0; active_ > 0; ++spin) {
    if (spin < kSpins)
      relax();
    else
      std::this_thread::yield();
  }
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

void Team::claim(int slot) {
  try {
    for (int first = 0; first < slots_; ++first) {
      Share& share = shares_[(slot + first) % slots_];
      for (int64_t i; (i = share.next.fetch_add(1)) < share.end;) task_(context_, i, slot);
    }
  } catch (...) {
    for (int i = 0; i < slots_; ++i) shares_[i].next = shares_[i].end;
    std::lock_guard lock(thrownMutex_);
    if (!thrown_) thrown_ = std::current_exception();
  }
}

void Team::work(int slot) {
  inside_ = true;
  for (int32_t seen = 0; !stopping_;) {
    int32_t now = epoch_;
    for (int spin = 0; now == seen && spin < kSpins; ++spin) {
      relax();
      now = epoch_;
    }
    if (now == seen) {
      epoch_.wait(seen);
      continue;
    }
    seen = now;
    followNice();
    ++active_;
    if (open_ && slot < slots_) claim(slot);
    --active_;
  }
}

}  // namespace lateforge::cpu
