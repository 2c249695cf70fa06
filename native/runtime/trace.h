// When a device ran each op, for `Device.trace`. Marks are host calls in the stream's order, so that a backend knows
// nothing of it; where those do not wait for ops before them (on GPUs), a trace would say when ops were launched.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backend.h"

namespace lateforge {

class Trace {
 public:
  struct Event {
    const char* op;
    std::string operands;       // shapes and types of its inputs
    double begin = 0, end = 0;  // milliseconds since the trace began
  };

  // Marks the time around what `run` issues.
  template <class F>
  static void around(const std::shared_ptr<Trace>& trace, const Backend* backend, Stream* stream, const char* op,
                     std::string operands, const F& run) {
    size_t index;
    {
      std::lock_guard lock(trace->mutex_);
      index = trace->events_.size();
      trace->events_.push_back({op, std::move(operands)});
    }
    backend->hostCall(stream, mark, new Mark{trace, index, false});
    run();
    backend->hostCall(stream, mark, new Mark{trace, index, true});
  }

  std::vector<Event> take() {
    std::lock_guard lock(mutex_);
    return std::move(events_);
  }

 private:
  struct Mark {
    std::shared_ptr<Trace> trace;
    size_t event;
    bool end;
  };

  static int32_t mark(void* context, const char*, char*) {
    const std::unique_ptr<Mark> at(static_cast<Mark*>(context));
    Trace& trace = *at->trace;
    const std::chrono::duration<double, std::milli> now = std::chrono::steady_clock::now() - trace.start_;
    std::lock_guard lock(trace.mutex_);
    // What was taken before is over.
    if (at->event < trace.events_.size())
      (at->end ? trace.events_[at->event].end : trace.events_[at->event].begin) = now.count();
    return 0;
  }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::vector<Event> events_;
};

}  // namespace lateforge
