// A stream for backends without one of their own: a thread that runs ops, uploads and downloads in the order they were
// issued. What a job throws becomes the stream's error, typed where it is a lack of memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "backend.h"
#include "guard.h"
#include "job.h"

namespace lateforge {

class Queue {
 public:
  // What a backend does on the thread: runs an op (0, or 1 with a message), writes device memory, reads it.
  struct Work {
    std::function<int32_t(const OpCall& call, char* error)> run;
    void (*write)(void* device, const void* source, size_t bytes);
    void (*read)(void* target, const void* device, size_t bytes);
  };

  // `lazy`: nothing runs until somebody waits for a result. Whatever relies on an op having run early fails there.
  Queue(Work work, bool lazy);
  // Waits for what runs, not for what is queued: ops and uploads are dropped, downloads and `synchronize` get an error;
  // host calls are made, with that error.
  ~Queue();

  void run(const OpCall& call);
  // 1 when there is no memory for the copy.
  int32_t upload(void* target, const void* source, size_t bytes);
  void download(void* target, const void* source, size_t bytes, Done done, void* context);
  void synchronize(Done done, void* context);
  void hostCall(HostCall call, void* context);
  int64_t pending() const { return pending_.load(); }

 private:
  using Kind = Job::Kind;

  void push(Job job, bool wanted);
  void loop();
  void execute(Job& job);
  template <class F>
  void attempt(const char* what, const F& f);
  void report(Job& job, const char* error);

  const Work work_;
  const bool lazy_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool stop_ = false, wanted_ = false;
  FirstError error_;  // touched by the thread only
  std::atomic<int64_t> pending_{0};
  std::thread thread_;
};

}  // namespace lateforge
