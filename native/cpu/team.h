// One fixed team of threads for the whole process. A caller's work is a number of independent tasks, claimed one by one
// by the workers and the caller itself; results never depend on who ran what.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace lateforge::cpu {

class Team {
 public:
  // Never destroyed: workers may still sleep when the process exits.
  static Team& instance();

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // At least 1. Waits for work in progress.
  void setThreads(int threads);

  // f(task) for every task in [0, tasks), in any order, on any thread; returns when all are done. Calls from inside a
  // task run inline; calls from several threads take turns. f must not throw.
  template <class F>
  void parallel(int64_t tasks, F&& f) {
    if (tasks <= 1 || inside_ || workers_.empty()) {
      for (int64_t i = 0; i < tasks; ++i) f(i);
      return;
    }
    run(
        tasks, [](void* context, int64_t i) { (*static_cast<std::remove_reference_t<F>*>(context))(i); }, &f);
  }

 private:
  using Task = void (*)(void* context, int64_t task);

  Team();
  void start(int workers);
  void stop();
  void run(int64_t tasks, Task task, void* context);
  void claim();
  void work();

  std::mutex callers_;  // one job at a time
  std::vector<std::thread> workers_;
  std::atomic<int32_t> epoch_{0};  // workers sleep on it
  std::atomic<bool> stopping_{false};
  // The open job. Its fields are written before `open_` is set and stay until no worker is `active_`.
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<bool> open_{false};
  std::atomic<int32_t> active_{0};

  static thread_local bool inside_;
};

}  // namespace lateforge::cpu
