// One fixed team of threads for the whole process. A caller's work is a number of independent tasks, claimed one by one
// by the workers and the caller itself; results never depend on who ran what. Every thread begins with a share of its
// own, a run of neighbouring tasks that is the same each time, and helps the others after it: what it wrote the last
// time is in its caches, while what another core wrote may take longer to fetch than to compute.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace lateforge::cpu {

class Team {
 public:
  // Never destroyed: workers may still sleep when the process exits.
  static Team& instance();

  int threads() const { return threads_; }
  // At least 1. Waits for work in progress.
  void setThreads(int threads);
  // The nice value of the team's threads, and of those that follow it (platform.h).
  int nice() const { return nice_; }
  void setNice(int nice) { nice_ = nice; }
  // Gives the thread that calls the team's nice value: for one that does nothing but the team's work. What the system
  // refuses stays as it is.
  void followNice();

  // f(task) for every task in [0, tasks), in any order, on any thread; returns when all are done. Calls from inside a
  // task run inline; calls from several threads take turns. Once a task throws no other is begun, and the first thing
  // thrown reaches the caller when all that runs has ended.
  template <class F>
  void parallel(int64_t tasks, F&& f) {
    parallel(tasks, INT_MAX, [&](int64_t task, int) { f(task); });
  }
  // f(task, slot) on at most `slots` threads: tasks that run at the same time have different slots of [0, slots). Not
  // from inside a task that has slots of the same kind.
  template <class F>
  void parallel(int64_t tasks, int slots, F&& f) {
    if (tasks <= 1 || slots <= 1 || inside_ || threads_ == 1) {
      for (int64_t i = 0; i < tasks; ++i) f(i, 0);
      return;
    }
    run(
        tasks, slots,
        [](void* context, int64_t i, int slot) { (*static_cast<std::remove_reference_t<F>*>(context))(i, slot); }, &f);
  }

 private:
  using Task = void (*)(void* context, int64_t task, int slot);

  Team();
  void start(int workers);
  void stop();
  void run(int64_t tasks, int slots, Task task, void* context);
  void claim(int slot);
  void work(int slot);

  std::mutex callers_;  // one job at a time
  std::vector<std::thread> workers_;
  std::atomic<int> threads_{1};  // workers and a caller
  std::atomic<int> nice_{0};
  std::atomic<int32_t> epoch_{0};  // workers sleep on it
  std::atomic<bool> stopping_{false};
  // The open job. Its fields are written before `open_` is set and stay until no worker is `active_`.
  struct alignas(64) Share {  // a cache line: they are counted at the same time
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  Task task_ = nullptr;
  void* context_ = nullptr;
  int slots_ = 0;              // so many shares are in use
  std::vector<Share> shares_;  // one for each thread
  std::atomic<bool> open_{false};
  std::atomic<int32_t> active_{0};
  std::mutex thrownMutex_;
  std::exception_ptr thrown_;  // the first

  static thread_local bool inside_;
  static thread_local int followed_;
};

}  // namespace lateforge::cpu
