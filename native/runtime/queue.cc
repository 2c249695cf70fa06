#include "queue.h"

#include "op.h"

namespace lateforge {

Queue::Queue(Work work, bool lazy) : work_(std::move(work)), lazy_(lazy), thread_([this] { loop(); }) {}

Queue::~Queue() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Queue::run(const OpCall& call) { push({.kind = Kind::run, .call = call}, false); }

int32_t Queue::upload(void* target, const void* source, size_t bytes) {
  std::unique_ptr<char[]> copy(new (std::nothrow) char[bytes]);
  if (!copy) return 1;
  std::memcpy(copy.get(), source, bytes);
  push({.kind = Kind::upload, .target = target, .copy = std::move(copy), .bytes = bytes}, false);
  return 0;
}

void Queue::download(void* target, const void* source, size_t bytes, Done done, void* context) {
  push({.kind = Kind::download, .target = target, .source = source, .bytes = bytes, .done = done, .context = context},
       true);
}

void Queue::synchronize(Done done, void* context) {
  push({.kind = Kind::synchronize, .done = done, .context = context}, true);
}

// Other ranks wait for what a host call hands over, so even a lazy stream moves up to it.
void Queue::hostCall(HostCall call, void* context) {
  push({.kind = Kind::host, .context = context, .host = call}, true);
}

void Queue::push(Job job, bool wanted) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    pending_.fetch_add(1);
    wanted_ |= wanted;
    wake = !lazy_ || wanted;
  }
  if (wake) changed_.notify_one();
}

void Queue::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || (!jobs_.empty() && (!lazy_ || wanted_)); });
    if (jobs_.empty()) return;  // stopping
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    if (jobs_.empty()) wanted_ = false;
    // What is still queued nobody will see: ops and uploads are left out, whoever waits is told.
    if (stop_ && !error_) error_.keep("ERR_ABORTED: the stream was closed");
    lock.unlock();
    execute(job);
    pending_.fetch_sub(1);
    lock.lock();
  }
}

// What f(text) returns or throws is the stream's error, if it has none. Null: the message says what it is about.
template <class F>
void Queue::attempt(const char* what, const F& f) {
  char text[kErrorBytes] = "";
  if (!guarded(text, [&] { return f(text); })) return;
  if (what)
    error_.keep(what, text);
  else
    error_.keep(text);
}

void Queue::execute(Job& job) {
  switch (job.kind) {
    case Kind::run:
      if (!error_) attempt(specOf(job.call.op).name, [&](char* text) { return work_.run(job.call, text); });
      return;
    case Kind::upload:
      if (!error_) attempt("upload", [&](char*) { return work_.write(job.target, job.copy.get(), job.bytes), 0; });
      return;
    case Kind::download:
      if (!error_ && job.bytes)
        attempt("read", [&](char*) { return work_.read(job.target, job.source, job.bytes), 0; });
      return report(job, error_.text());
    case Kind::synchronize: {
      const FirstError error = std::exchange(error_, {});
      return report(job, error.text());
    }
    case Kind::host:
      return attempt(nullptr, [&](char* text) { return job.host(job.context, error_.text(), text); });
    case Kind::elapsed:  // of devices with a clock of their own (native/cuda/runtime/stream.cc)
      return;
  }
}

// Whoever is told must not throw; should it, what is issued afterwards hears of it.
void Queue::report(Job& job, const char* error) {
  attempt("a result", [&](char*) { return job.done(job.context, error), 0; });
}

}  // namespace lateforge
