#include "stream.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "../../runtime/setting.h"
#include "../gemm_lt.h"

namespace lateforge {
namespace {

constexpr size_t kSlotBytes = size_t{2} << 20;
constexpr int kSlots = 8;

// LATEFORGE_CUDA_SYNC=1 waits for every op, so that an error of the device names the op that caused it.
bool waitForEveryOp() {
  static const bool wanted = [] {
    bool wanted = false;
    char error[kErrorBytes];
    readFlag("LATEFORGE_CUDA_SYNC", wanted, error);  // openStream has refused what does not parse
    return wanted;
  }();
  return wanted;
}

constexpr const char* kOpNames[] = {
#define OP(name, ...) #name,
    LF_OPS(OP)
#undef OP
};

void write(char* error, const char* what, cudaError_t code) {
  std::snprintf(error, kErrorBytes, "%s: %s (%s)", what, cudaGetErrorString(code), cudaGetErrorName(code));
}

}  // namespace

Stream* Stream::open(int32_t device, const cuda::CudaOp* ops, char* error) {
  auto* self = new (std::nothrow) Stream(device, ops);
  if (!self) {
    std::snprintf(error, kErrorBytes, "the host has no memory left");
    return nullptr;
  }
  if (self->prepare(error)) return self;
  delete self;
  cudaGetLastError();  // or the next call of somebody else would find it
  return nullptr;
}

bool Stream::prepare(char* error) {
  auto fine = [&](cudaError_t code, const char* what) {
    if (code != cudaSuccess) write(error, what, code);
    return code == cudaSuccess;
  };
  if (!fine(cudaSetDevice(device_), "the device cannot be used") ||
      !fine(cudaDeviceGetAttribute(&sharedLimit_, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_), "attribute") ||
      !fine(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "no stream") ||
      !fine(cudaMalloc(reinterpret_cast<void**>(&fault_), sizeof *fault_), "no memory") ||
      !fine(cudaMallocHost(reinterpret_cast<void**>(&faultRead_), sizeof *faultRead_), "no pinned memory"))
    return false;
  return guarded(error, [&] {
           slots_.reserve(kSlots);
           finisher_ = std::thread([this] { finish(); });
           issuer_ = std::thread([this] { issue(); });
           return 0;
         }) == 0;
}

Stream::~Stream() {
  if (issuer_.joinable()) {
    {
      std::lock_guard lock(jobMutex_);
      stopIssuing_ = true;
    }
    jobsChanged_.notify_one();
    issuer_.join();
  }
  if (finisher_.joinable()) {
    {
      std::lock_guard lock(finishMutex_);
      stopFinishing_ = true;
    }
    finishChanged_.notify_one();
    finisher_.join();
  }
  if (lost_) return;  // nothing of a lost device can be given back
  cudaSetDevice(device_);
  if (handle_) cuda::closeGemm(handle_);
  for (char* slot : slots_) cudaFreeHost(slot);
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
  if (mark_) cudaEventDestroy(mark_);
  cudaFree(fault_);
  cudaFreeHost(faultRead_);
  if (handle_) cudaStreamDestroy(handle_);
}

void Stream::run(const OpCall& call) { push({.kind = Kind::run, .call = call}); }

int32_t Stream::upload(void* target, const void* source, size_t bytes) {
  std::unique_ptr<char[]> copy(new (std::nothrow) char[bytes]);
  if (!copy) return 1;
  std::memcpy(copy.get(), source, bytes);
  push({.kind = Kind::upload, .target = target, .copy = std::move(copy), .bytes = bytes});
  return 0;
}

void Stream::download(void* target, const void* source, size_t bytes, Done done, void* context) {
  push({.kind = Kind::download, .target = target, .source = source, .bytes = bytes, .done = done, .context = context});
}

void Stream::synchronize(Done done, void* context) {
  push({.kind = Kind::synchronize, .done = done, .context = context});
}

void Stream::hostCall(HostCall call, void* context) { push({.kind = Kind::host, .context = context, .host = call}); }

void Stream::elapsed(double* milliseconds, Done done, void* context) {
  push({.kind = Kind::elapsed, .target = milliseconds, .done = done, .context = context});
}

void Stream::push(Job job) {
  {
    std::lock_guard lock(jobMutex_);
    jobs_.push_back(std::move(job));
    pending_.fetch_add(1);
  }
  jobsChanged_.notify_one();
}

void Stream::issue() {
  cudaSetDevice(device_);
  std::unique_lock lock(jobMutex_);
  for (;;) {
    jobsChanged_.wait(lock, [&] { return stopIssuing_ || !jobs_.empty(); });
    if (jobs_.empty()) break;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    if (stopIssuing_) {
      std::lock_guard errorLock(errorMutex_);
      error_.keep("ERR_ABORTED: the stream was closed");
    }
    lock.unlock();
    execute(job);
    lock.lock();
  }
  lock.unlock();
  drain();
}

void Stream::execute(Job& job) {
  char text[kErrorBytes];
  if (guarded(text, [&] { return perform(job), 0; }) == 0) return;
  fail(job.kind == Kind::run ? lastOp_ : job.kind == Kind::upload ? "upload" : "read", text);
  if (!job.done) return;
  drain();  // parts of a read may still be on their way to its target
  const FirstError error = this->error();
  guarded(text, [&] { return job.done(job.context, error.text()), 0; });
}

// Clears job.done once somebody else tells whoever asked, or has told.
void Stream::perform(Job& job) {
  switch (job.kind) {
    case Kind::run:
      ++launched_;
      return executeRun(job.call);
    case Kind::upload:
      ++launched_;
      return executeUpload(job);
    case Kind::download:
      ++launched_;
      return executeDownload(job);
    case Kind::elapsed:
      ++launched_;
      return executeLap(job);
    case Kind::synchronize: {
      drain();
      FirstError error;
      {
        std::lock_guard lock(errorMutex_);
        error = error_;
        if (!lost_) error_.clear();
      }
      pending_.fetch_sub(1);
      std::exchange(job.done, nullptr)(job.context, error.text());
      return;
    }
    case Kind::host: {
      const FirstError before = error();
      char text[kErrorBytes] = "";
      if (guarded(text, [&] { return job.host(job.context, before.text(), text); })) fail(nullptr, text);
      pending_.fetch_sub(1);
      return;
    }
  }
}

void Stream::executeRun(const OpCall& call) {
  if (failed()) return;
  const int op = static_cast<int>(call.op);
  lastOp_ = kOpNames[op];
  const bool mayFault = call.op == Op::assertFinite;
  if (mayFault && !check(cudaMemsetAsync(fault_, 0xff, sizeof *fault_, handle_), lastOp_)) return;
  char text[kErrorBytes] = "";
  cuda::Context context{handle_, sharedLimit_, fault_, text};
  if (ops_[op](call, context)) return fail(lastOp_, text);
  if (mayFault) readFault(call);
  if (waitForEveryOp()) check(cudaStreamSynchronize(handle_), lastOp_);
}

void Stream::readFault(const OpCall& call) {
  if (!check(cudaMemcpyAsync(faultRead_, fault_, sizeof *fault_, cudaMemcpyDeviceToHost, handle_), lastOp_) ||
      !check(cudaStreamSynchronize(handle_), lastOp_) || faultRead_->first == cuda::kNoFault)
    return;
  char text[kErrorBytes];
  cuda::describe(*faultRead_, call, text);
  fail(lastOp_, text);
}

void Stream::executeUpload(const Job& job) {
  for (size_t at = 0; at < job.bytes && !failed(); at += kSlotBytes) {
    const size_t bytes = std::min(kSlotBytes, job.bytes - at);
    char* slot = takeSlot();
    if (!slot) return;
    std::memcpy(slot, job.copy.get() + at, bytes);
    check(cudaMemcpyAsync(static_cast<char*>(job.target) + at, slot, bytes, cudaMemcpyHostToDevice, handle_), "upload");
    record({nullptr, slot, nullptr, 0, nullptr, nullptr, 0, false});
  }
}

// Copies chunk by chunk through pinned memory; the last chunk tells the reader.
void Stream::executeDownload(Job& job) {
  size_t at = 0;
  do {
    const size_t bytes = failed() ? 0 : std::min(kSlotBytes, job.bytes - at);
    char* slot = bytes ? takeSlot() : nullptr;
    if (slot)
      check(cudaMemcpyAsync(slot, static_cast<const char*>(job.source) + at, bytes, cudaMemcpyDeviceToHost, handle_),
            "read");
    const bool broken = failed();
    const bool last = broken || at + bytes == job.bytes;
    record({nullptr, slot, broken ? nullptr : static_cast<char*>(job.target) + at, bytes, last ? job.done : nullptr,
            job.context, 0, broken});
    if (last) {
      job.done = nullptr;
      return;
    }
    at += bytes;
  } while (at < job.bytes);
}

void Stream::executeLap(Job& job) {
  cudaEvent_t now = nullptr;
  if (!failed() && check(cudaEventCreateWithFlags(&now, cudaEventDefault), "no event"))
    check(cudaEventRecord(now, handle_), "no event");
  const cudaEvent_t before = std::exchange(mark_, now);
  Finish f{nullptr, nullptr, nullptr, 0, job.done, job.context, 0, false};
  f.elapsed = static_cast<double*>(job.target);
  f.from = before;
  f.to = now;
  record(f);
  job.done = nullptr;
}

void Stream::record(Finish f) {
  {
    std::lock_guard lock(finishMutex_);
    if (!events_.empty()) {
      f.event = events_.back();
      events_.pop_back();
    }
  }
  if (!f.event &&
      !check(cudaEventCreateWithFlags(&f.event, cudaEventDisableTiming | cudaEventBlockingSync), "no event"))
    f.event = nullptr;
  if (f.event) check(cudaEventRecord(f.event, handle_), "no event");
  f.failed = f.failed || failed();
  f.jobs = launched_;
  try {
    std::lock_guard lock(finishMutex_);
    finishes_.push_back(f);
  } catch (...) {
    check(cudaStreamSynchronize(handle_), lastOp_);  // what uses the slot
    if (f.slot) giveSlot(f.slot);
    throw;
  }
  launched_ = 0;
  finishChanged_.notify_one();
}

void Stream::drain() {
  check(cudaStreamSynchronize(handle_), lastOp_);
  std::unique_lock lock(finishMutex_);
  finished_.wait(lock, [&] { return finishes_.empty() && !finishing_; });
  pending_.fetch_sub(std::exchange(launched_, 0));
}

void Stream::finish() {
  cudaSetDevice(device_);
  std::unique_lock lock(finishMutex_);
  for (;;) {
    finishChanged_.wait(lock, [&] { return stopFinishing_ || !finishes_.empty(); });
    if (finishes_.empty()) return;
    const Finish f = finishes_.front();
    finishes_.pop_front();
    finishing_ = true;
    lock.unlock();
    char text[kErrorBytes];
    if (guarded(text, [&] { return complete(f), 0; })) fail("a result", text);
    if (f.slot) giveSlot(f.slot);
    lock.lock();
    if (f.event && guarded(text, [&] { return events_.push_back(f.event), 0; })) cudaEventDestroy(f.event);
    finishing_ = false;
    finished_.notify_all();
  }
}

void Stream::complete(const Finish& f) {
  bool broken = f.failed;
  if (f.event) {
    cudaError_t code = cudaErrorNotReady;
    // A short wait is not worth the wake-up of a blocking one, which takes tens of microseconds.
    for (int i = 0; i < 200 && code == cudaErrorNotReady; ++i) code = cudaEventQuery(f.event);
    if (code == cudaErrorNotReady) code = cudaEventSynchronize(f.event);
    broken |= !check(code, "an op issued before");
  }
  if (!broken && f.target && f.slot) std::memcpy(f.target, f.slot, f.bytes);
  if (f.elapsed) {
    float milliseconds = 0;
    if (!broken && f.from && f.to) broken |= !check(cudaEventElapsedTime(&milliseconds, f.from, f.to), "no time");
    *f.elapsed = static_cast<double>(milliseconds);
    if (f.from) cudaEventDestroy(f.from);
  }
  pending_.fetch_sub(f.jobs);
  if (!f.done) return;
  const FirstError first = broken ? error() : FirstError();
  f.done(f.context, first.text());
}

char* Stream::takeSlot() {
  std::unique_lock lock(finishMutex_);
  if (slots_.empty() && slotsMade_ < kSlots) {
    lock.unlock();
    void* slot = nullptr;
    if (!check(cudaHostAlloc(&slot, kSlotBytes, cudaHostAllocDefault), "no pinned memory")) return nullptr;
    ++slotsMade_;
    return static_cast<char*>(slot);
  }
  finished_.wait(lock, [&] { return !slots_.empty(); });
  char* slot = slots_.back();
  slots_.pop_back();
  return slot;
}

void Stream::giveSlot(char* slot) {
  {
    std::lock_guard lock(finishMutex_);
    slots_.push_back(slot);  // there is room for all
  }
  finished_.notify_all();
}

bool Stream::check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return true;
  char text[kErrorBytes];
  write(text, what, code);
  fail(nullptr, text);
  return false;
}

void Stream::fail(const char* op, const char* message) {
  cudaGetLastError();
  // What is still there after it was taken away belongs to the context: the device is lost to this process.
  const cudaError_t state = cudaStreamQuery(handle_);
  const bool lost = state != cudaSuccess && state != cudaErrorNotReady;
  cudaGetLastError();  // "not ready" counts as one; the next launch must not find it
  std::lock_guard lock(errorMutex_);
  if (op)
    error_.keep(op, message);
  else
    error_.keep(message);
  if (lost && !lost_) {
    lost_ = true;
    error_.append(
        ". The device is lost to this process: start a new one. LATEFORGE_CUDA_SYNC=1 names the op that did it");
  }
}

bool Stream::failed() {
  std::lock_guard lock(errorMutex_);
  return static_cast<bool>(error_);
}

FirstError Stream::error() {
  std::lock_guard lock(errorMutex_);
  return error_;
}

}  // namespace lateforge
