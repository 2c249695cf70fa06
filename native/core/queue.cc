#include "queue.h"

#include "ops.h"

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

void Queue::run(const OpCall& call) { push({Kind::run, call, nullptr, nullptr, nullptr, 0, nullptr, nullptr}, false); }

void Queue::upload(void* target, const void* source, size_t bytes) {
  auto copy = std::make_unique_for_overwrite<char[]>(bytes);
  std::memcpy(copy.get(), source, bytes);
  push({Kind::upload, {}, target, nullptr, std::move(copy), bytes, nullptr, nullptr}, false);
}

void Queue::download(void* target, const void* source, size_t bytes, Done done, void* context) {
  push({Kind::download, {}, target, source, nullptr, bytes, done, context}, true);
}

void Queue::synchronize(Done done, void* context) {
  push({Kind::synchronize, {}, nullptr, nullptr, nullptr, 0, done, context}, true);
}

// Other ranks wait for what a host call hands over, so even a lazy stream moves up to it.
void Queue::hostCall(HostCall call, void* context) {
  push({Kind::host, {}, nullptr, nullptr, nullptr, 0, nullptr, context, call}, true);
}

void Queue::push(Job job, bool wanted) {
  pending_.fetch_add(1);
  bool wake;
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
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
    lock.unlock();
    execute(job);
    pending_.fetch_sub(1);
    lock.lock();
  }
}

void Queue::execute(Job& job) {
  switch (job.kind) {
    case Kind::run: {
      if (!error_.empty()) return;
      char text[kErrorBytes] = "";
      if (work_.run(job.call, text)) error_ = std::string(specOf(job.call.op).name) + ": " + text;
      return;
    }
    case Kind::upload:
      if (error_.empty()) work_.write(job.target, job.copy.get(), job.bytes);
      return;
    case Kind::download:
      if (error_.empty() && job.bytes) work_.read(job.target, job.source, job.bytes);
      job.done(job.context, error_.empty() ? nullptr : error_.c_str());
      return;
    case Kind::synchronize: {
      const std::string error = std::exchange(error_, "");
      job.done(job.context, error.empty() ? nullptr : error.c_str());
      return;
    }
    case Kind::host: {
      char text[kErrorBytes] = "";
      if (job.host(job.context, error_.empty() ? nullptr : error_.c_str(), text) && error_.empty()) error_ = text;
      return;
    }
  }
}

}  // namespace lateforge
