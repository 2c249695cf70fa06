// The in-order stream of backends that have none of their own: random sequences against what they must give, order,
// errors that are returned and errors that are thrown, lack of memory, lazy streams, and the end with jobs under way.
// Runs under ThreadSanitizer too.
#include "../../native/runtime/queue.h"

#include <cstdlib>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../native/ops/list.h"
#include "check.h"
#include "seed.h"

namespace {

// Allocations of so many bytes fail.
std::atomic<size_t> refused{SIZE_MAX};

void* allocate(size_t bytes) { return bytes >= refused ? nullptr : std::malloc(bytes ? bytes : 1); }

}  // namespace

void* operator new(size_t bytes) {
  if (void* data = allocate(bytes)) return data;
  throw std::bad_alloc();
}
void* operator new[](size_t bytes) {
  if (void* data = allocate(bytes)) return data;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void operator delete(void* data) noexcept { std::free(data); }
void operator delete[](void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }
void operator delete[](void* data, size_t) noexcept { std::free(data); }

namespace lateforge::testing {
namespace {

// What the "kernels" here do, by the factor of the op scale: multiply the operand, or fail in some way.
constexpr double kReturns = -1, kBadAlloc = -2, kRuntimeError = -3, kInt = -4, kReally = -5;

std::atomic<int64_t> ran{0};

int32_t kernel(const OpCall& call, char* error) {
  ++ran;
  const double by = call.as<params::scale>().by;
  if (by == kReturns) return std::snprintf(error, kErrorBytes, "factor %g", by), 1;
  if (by == kBadAlloc) throw std::bad_alloc();
  if (by == kRuntimeError) throw std::runtime_error("thrown by a kernel");
  if (by == kInt) throw 7;
  if (by == kReally) {
    static char* volatile much;
    refused = 1 << 20;
    much = new char[1 << 20];
    delete[] much;
  }
  *call.in[0].as<double>() *= by;
  return 0;
}

Queue::Work work() {
  return {.run = kernel,
          .write = [](void* device, const void* source, size_t bytes) { std::memcpy(device, source, bytes); },
          .read =
              [](void* target, const void* device, size_t bytes) {
                if (!device) throw std::runtime_error("no such memory");
                std::memcpy(target, device, bytes);
              }};
}

OpCall scale(double* x, double by) {
  OpCall call{};
  call.op = Op::scale;
  call.in[0].data = x;
  const params::scale params{by};
  std::memcpy(call.params, &params, sizeof params);
  return call;
}

// A result that is waited for. It lives until it has come.
class Result {
 public:
  static void done(void* self, const char* error) {
    auto* result = static_cast<Result*>(self);
    std::lock_guard lock(result->mutex_);
    if (error) result->error_ = error;
    ++result->times_;
    result->at_ = ++clock;
    result->changed_.notify_all();
  }
  // The error, or "".
  std::string wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return times_ > 0; });
    return error_;
  }
  int times() {
    std::lock_guard lock(mutex_);
    return times_;
  }
  int64_t at() {
    std::lock_guard lock(mutex_);
    return at_;
  }
  double value = 0;

 private:
  static inline std::atomic<int64_t> clock{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string error_;
  int times_ = 0;
  int64_t at_ = 0;
};

std::string synchronize(Queue& queue) {
  Result result;
  queue.synchronize(Result::done, &result);
  return result.wait();
}

bool begins(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }

// Ops, uploads and reads in any order give what the same ones give one by one.
void sequences(std::mt19937& random, bool lazy) {
  Queue queue(work(), lazy);
  double memory[4] = {};
  double model[4] = {};
  std::vector<std::pair<std::unique_ptr<Result>, double>> reads;
  for (int step = 0; step < 3000; ++step) {
    const size_t cell = random() % 4;
    switch (random() % 4) {
      case 0:
      case 1: {
        const double by = 0.5 + static_cast<double>(random() % 4);
        queue.run(scale(&memory[cell], by));
        model[cell] *= by;
        break;
      }
      case 2: {
        double value = static_cast<double>(random() % 100);
        CHECK(queue.upload(&memory[cell], &value, sizeof value) == 0, "an upload");
        model[cell] = value;
        value = -1;  // it was copied
        break;
      }
      default:
        reads.emplace_back(std::make_unique<Result>(), model[cell]);
        queue.download(&reads.back().first->value, &memory[cell], sizeof(double), Result::done,
                       reads.back().first.get());
    }
  }
  CHECK(synchronize(queue).empty() && queue.pending() <= 1, "%lld jobs pending",
        static_cast<long long>(queue.pending()));
  int64_t before = 0;
  for (auto& [result, expected] : reads) {
    CHECK(result->wait().empty() && result->value == expected && result->times() == 1, "read %g, expected %g",
          result->value, expected);
    CHECK(result->at() > before, "results in another order than they were asked for");
    before = result->at();
  }
}

// After the first error ops are passed over and every read says so, until somebody has synchronised.
void errors() {
  Queue queue(work(), false);
  struct Case {
    double by;
    const char* begins;
  };
  for (const Case& c : {Case{kReturns, "scale: factor -1"}, Case{kBadAlloc, "ERR_OUT_OF_MEMORY: scale: "},
                        Case{kRuntimeError, "scale: thrown by a kernel"}, Case{kInt, "scale: "},
                        Case{kReally, "ERR_OUT_OF_MEMORY: scale: "}}) {
    double x = 3;
    const int64_t before = ran;
    queue.run(scale(&x, 2));
    queue.run(scale(&x, c.by));
    queue.run(scale(&x, kReturns));
    queue.run(scale(&x, 2));
    Result first, event;
    queue.download(&first.value, &x, sizeof x, Result::done, &first);
    queue.download(nullptr, nullptr, 0, Result::done, &event);
    const std::string error = first.wait();
    refused = SIZE_MAX;
    CHECK(begins(error, c.begins), "\"%s\", expected \"%s\"", error.c_str(), c.begins);
    CHECK(event.wait() == error && first.value == 0, "two reads say the same");
    CHECK(synchronize(queue) == error, "and so does who synchronises");
    CHECK(ran - before == 2, "%lld ops ran", static_cast<long long>(ran - before));
    // As if nothing had been.
    queue.run(scale(&x, 5));
    Result again;
    queue.download(&again.value, &x, sizeof x, Result::done, &again);
    CHECK(again.wait().empty() && again.value == 30 && synchronize(queue).empty(), "%g after the error", again.value);
  }

  // Memory that is not there, named as what was asked for.
  Result read;
  queue.download(&read.value, nullptr, sizeof(double), Result::done, &read);
  CHECK(read.wait() == "read: no such memory" && !synchronize(queue).empty(), "a read that throws");

  // No memory for a copy is told at once, and costs nothing else.
  std::vector<char> source(2 << 20), target(2 << 20);
  refused = 1 << 20;
  CHECK(queue.upload(target.data(), source.data(), source.size()) == 1, "an upload without memory");
  refused = SIZE_MAX;
  CHECK(queue.upload(target.data(), source.data(), source.size()) == 0 && synchronize(queue).empty(), "with memory");

  // Whoever is told must not throw; should it, the thread lives on.
  Result told;
  queue.download(
      nullptr, nullptr, 0, [](void*, const char*) { throw std::runtime_error("thrown by a reader"); }, nullptr);
  queue.download(nullptr, nullptr, 0, Result::done, &told);
  CHECK(told.wait() == "a result: thrown by a reader" && !synchronize(queue).empty(), "a reader that throws");
}

// Host calls run in order, after an error too; what they say or throw is the stream's error.
void hostCalls() {
  Queue queue(work(), false);
  struct Seen {
    int calls = 0;
    std::string error;
  } seen;
  const HostCall look = [](void* context, const char* error, char*) {
    auto* s = static_cast<Seen*>(context);
    ++s->calls;
    s->error = error ? error : "";
    return 0;
  };
  double x = 1;
  queue.hostCall(look, &seen);
  CHECK(synchronize(queue).empty() && seen.calls == 1 && seen.error.empty(), "a call on a sound stream");
  queue.run(scale(&x, kRuntimeError));
  queue.hostCall(look, &seen);
  CHECK(synchronize(queue) == seen.error && seen.calls == 2, "a call behind an error saw \"%s\"", seen.error.c_str());
  queue.hostCall([](void*, const char*, char* text) { return std::snprintf(text, kErrorBytes, "ERR_GROUP: gone"), 1; },
                 nullptr);
  CHECK(synchronize(queue) == "ERR_GROUP: gone", "what a call says is kept as it is");
  queue.hostCall([](void*, const char*, char*) -> int32_t { throw std::bad_alloc(); }, nullptr);
  CHECK(begins(synchronize(queue), "ERR_OUT_OF_MEMORY: "), "what a call throws");
}

// Nothing runs until somebody wants to know.
void lazily() {
  Queue queue(work(), true);
  double x = 1;
  const int64_t before = ran;
  for (int i = 0; i < 50; ++i) queue.run(scale(&x, 1));
  CHECK(ran == before && queue.pending() == 50, "%lld ops ran unasked", static_cast<long long>(ran - before));
  CHECK(synchronize(queue).empty() && ran == before + 50, "%lld ops ran", static_cast<long long>(ran - before));
  queue.run(scale(&x, 1));
  CHECK(ran == before + 50, "it rests again");
}

// A stream that ends with jobs under way ends, and everybody who waits is told once.
void ends(std::mt19937& random, bool lazy) {
  for (int round = 0; round < 50; ++round) {
    double x = 1;
    std::vector<std::unique_ptr<Result>> results;
    {
      Queue queue(work(), lazy);
      for (unsigned i = random() % 30; i > 0; --i) {
        const unsigned what = random() % 8;
        if (what == 0) queue.run(scale(&x, kBadAlloc));
        if (what < 5) queue.run(scale(&x, 1));
        if (what < 5) continue;
        results.push_back(std::make_unique<Result>());
        if (what == 7)
          queue.synchronize(Result::done, results.back().get());
        else
          queue.download(nullptr, nullptr, 0, Result::done, results.back().get());
      }
    }
    for (const auto& result : results) CHECK(result->times() == 1, "told %d times", result->times());
  }
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  std::mt19937 random(testSeed());
  for (const bool lazy : {false, true}) {
    sequences(random, lazy);
    ends(random, lazy);
  }
  errors();
  hostCalls();
  lazily();
  return finish("queue");
}
