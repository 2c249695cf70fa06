// A CUDA device's stream as core sees it. Two threads serve it, so that no caller ever waits for the device:
// the issuer takes jobs in order and enqueues them on the CUDA stream; the finisher waits for events in the same order,
// moves what was read from pinned memory to where it was wanted and tells whoever asked. What either of them throws is
// the stream's error.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../../runtime/backend.h"
#include "../../runtime/guard.h"
#include "../../runtime/job.h"
#include "../op.h"

namespace lateforge {

struct Stream {
  // Null with a message when the device cannot be used.
  static Stream* open(int32_t device, const cuda::CudaOp* ops, char* error);
  // Waits for what the device has been given; what is still queued is dropped, and whoever waits for it told.
  ~Stream();

  void run(const OpCall& call);
  // 1 when there is no memory for the copy.
  int32_t upload(void* target, const void* source, size_t bytes);
  void download(void* target, const void* source, size_t bytes, Done done, void* context);
  void synchronize(Done done, void* context);
  void hostCall(HostCall call, void* context);
  void elapsed(double* milliseconds, Done done, void* context);
  int32_t device() const { return device_; }
  int64_t pending() const { return pending_.load(); }

 private:
  using Kind = Job::Kind;

  // Something to do once an event has passed.
  struct Finish {
    cudaEvent_t event;  // null: the device is lost
    char* slot;         // pinned memory to give back, or null
    void* target;       // where its bytes go, or null
    size_t bytes;
    Done done;  // or null
    void* context;
    int64_t jobs;  // how many are finished with it
    bool failed;   // an error was known when it was issued
    // A time: what is between two events goes to `elapsed`; the first of them is not needed any more.
    double* elapsed = nullptr;
    cudaEvent_t from = nullptr, to = nullptr;
  };

  explicit Stream(int32_t device, const cuda::CudaOp* ops) : device_(device), ops_(ops) {}
  bool prepare(char* error);

  void push(Job job);
  void issue();
  void execute(Job& job);
  void perform(Job& job);
  void executeRun(const OpCall& call);
  void executeUpload(const Job& job);
  void executeDownload(Job& job);
  void executeLap(Job& job);
  void finish();
  void complete(const Finish& f);

  // Records an event behind what was issued and hands `f` to the finisher.
  void record(Finish f);
  // Blocks the issuer until nothing is under way.
  void drain();
  char* takeSlot();
  void giveSlot(char* slot);
  // Keeps the first error; finds out whether the device still works. `op`: what the message is about, or null when it
  // says so itself.
  void fail(const char* op, const char* message);
  bool check(cudaError_t code, const char* what);
  bool failed();
  FirstError error();

  // Blocks the issuer until the op that was just issued has run, and reads what it found.
  void readFault(const OpCall& call);

  const int32_t device_;
  const cuda::CudaOp* const ops_;
  cudaStream_t handle_ = nullptr;
  int sharedLimit_ = 0;
  cuda::Fault* fault_ = nullptr;      // on the device
  cuda::Fault* faultRead_ = nullptr;  // pinned
  std::atomic<int64_t> pending_{0};
  int64_t launched_ = 0;        // jobs issued since the last event; the issuer's
  const char* lastOp_ = "";     // the issuer's
  cudaEvent_t mark_ = nullptr;  // of the last call; the issuer's

  std::mutex jobMutex_;
  std::condition_variable jobsChanged_;
  std::deque<Job> jobs_;
  bool stopIssuing_ = false;

  std::mutex finishMutex_;
  std::condition_variable finishChanged_, finished_;
  std::deque<Finish> finishes_;
  bool finishing_ = false, stopFinishing_ = false;
  std::vector<char*> slots_;         // free ones
  std::vector<cudaEvent_t> events_;  // free ones
  int slotsMade_ = 0;

  std::mutex errorMutex_;
  FirstError error_;
  bool lost_ = false;

  std::thread issuer_, finisher_;
};

}  // namespace lateforge
