// The CPU's stream: a thread that runs kernels, uploads and downloads in the order they were issued.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "../core/backend.h"

namespace lateforge::cpu {

class Queue {
 public:
  // `lazy`: nothing runs until somebody waits for a result. Whatever relies on an op having run early fails there.
  Queue(const Kernel* kernels, bool lazy);
  ~Queue();

  void run(const OpCall& call);
  void upload(void* target, const void* source, size_t bytes);
  void download(void* target, const void* source, size_t bytes, Done done, void* context);
  void synchronize(Done done, void* context);
  void hostCall(HostCall call, void* context);
  int64_t pending() const { return pending_.load(); }

 private:
  enum class Kind { run, upload, download, synchronize, host };
  struct Job {
    Kind kind;
    OpCall call;
    void* target;
    const void* source;
    std::unique_ptr<char[]> copy;
    size_t bytes;
    Done done;
    void* context;
    HostCall host = nullptr;
  };

  void push(Job job, bool wanted);
  void work();
  void execute(Job& job);

  const Kernel* kernels_;
  const bool lazy_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool stop_ = false, wanted_ = false;
  std::string error_;  // the first one; touched by the thread only
  std::atomic<int64_t> pending_{0};
  std::thread thread_;
};

}  // namespace lateforge::cpu
