#include "team.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace lateforge::cpu {
namespace {

// Pauses before a waiting thread sleeps: about 20 µs, longer than the gap between two ops of a training step.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// A number from a file of the kernel's; 0 where there is none ("max", -1, no such file).
double numberIn(const char* path, int index) {
  double values[2] = {0, 0};
  if (FILE* file = std::fopen(path, "r")) {
    if (std::fscanf(file, "%lf %lf", &values[0], &values[1]) <= index) values[index] = 0;
    std::fclose(file);
  }
  return std::max(0.0, values[index]);
}

// Processors this process may use: its affinity, or less when the cgroup (version 2, else 1) grants less time.
int availableThreads() {
  if (const char* text = std::getenv("LATEFORGE_THREADS"); text && *text) return std::max(1, std::atoi(text));
  cpu_set_t set;
  const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  double quota = numberIn("/sys/fs/cgroup/cpu.max", 0), period = numberIn("/sys/fs/cgroup/cpu.max", 1);
  if (period == 0) {
    quota = numberIn("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", 0);
    period = numberIn("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 0);
  }
  return quota > 0 && period > 0 ? std::clamp(static_cast<int>(std::ceil(quota / period)), 1, count) : count;
}

}  // namespace

thread_local bool Team::inside_ = false;

Team& Team::instance() {
  static Team* team = new Team;
  return *team;
}

Team::Team() { start(availableThreads() - 1); }

void Team::setThreads(int threads) {
  std::lock_guard lock(callers_);
  stop();
  start(std::max(1, threads) - 1);
}

void Team::start(int workers) {
  try {
    for (int i = 0; i < workers; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // The system grants no more threads: the team is what has started.
  }
}

void Team::stop() {
  stopping_ = true;
  ++epoch_;
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  stopping_ = false;
}

void Team::run(int64_t tasks, Task task, void* context) {
  std::lock_guard lock(callers_);
  task_ = task;
  context_ = context;
  tasks_ = tasks;
  next_ = 0;
  open_ = true;
  ++epoch_;
  epoch_.notify_all();
  inside_ = true;
  claim();
  inside_ = false;
  // Every task is claimed by now; a worker that comes later finds the job closed and leaves without looking at it.
  open_ = false;
  for (int spin = 0; active_ > 0; ++spin) {
    if (spin < kSpins)
      relax();
    else
      std::this_thread::yield();
  }
}

void Team::claim() {
  for (int64_t i; (i = next_.fetch_add(1)) < tasks_;) task_(context_, i);
}

void Team::work() {
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
    ++active_;
    if (open_) claim();
    --active_;
  }
}

}  // namespace lateforge::cpu
