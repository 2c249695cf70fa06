#include "team.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace lateforge::cpu {
namespace {

// Pauses before a waiting thread sleeps: about 20 µs, longer than the gap between two ops of a training step.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Processors this process may use: its affinity, or less when the cgroup grants less time.
int availableThreads() {
  if (const char* text = std::getenv("LATEFORGE_THREADS"); text && *text) return std::max(1, std::atoi(text));
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    double quota, period;
    if (std::fscanf(file, "%lf %lf", &quota, &period) == 2)
      count = std::min(count, std::max(1, static_cast<int>(std::ceil(quota / period))));
    std::fclose(file);
  }
  return count;
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
  for (int i = 0; i < workers; ++i) workers_.emplace_back([this] { work(); });
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
