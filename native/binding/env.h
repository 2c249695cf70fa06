// What the addon keeps for one JavaScript environment (a worker thread has its own).
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "../data/shard.h"
#include "../distributed/collective.h"
#include "../distributed/host_group.h"
#include "../ops/list.h"
#include "../runtime/runtime.h"

namespace lateforge::binding {

struct Waiter;

struct Environment {
  explicit Environment(Napi::Env env);
  ~Environment();

  // Ends what native threads do for this environment, and all its promises. It runs as a cleanup hook, the first of
  // this addon's: while whatever those threads call is still there.
  void close();
  // Settles the promises whose work is done.
  void settle();

  Napi::Env env;
  Napi::FunctionReference makeError;  // (code, message) → Error, given by lib/native.ts
  static void callSettle(Napi::Env env, Napi::Function, Environment* self, void*);
  Napi::TypedThreadSafeFunction<Environment, void, callSettle> completions;
  // Promises not settled; the event loop stays alive while there are any.
  std::unordered_set<Waiter*> waiting;
  std::mutex mutex;
  // Under the mutex, because native threads come here: whose work is done, and whether nobody asks any more.
  std::vector<Waiter*> done;
  bool closing = false;
  bool externalBuffers = true;  // false where V8 forbids ArrayBuffers on memory of others, once that is known
  std::unique_ptr<HostGroup> group;
  Runtime runtime;
  Collectives collectives{runtime};
  // Arguments and results of `call`, shared with JS: see ops.cc.
  double* block = nullptr;
  Napi::Reference<Napi::Float64Array> blockReference;
  std::unordered_map<int64_t, std::shared_ptr<const Shard>> shards;
  int64_t lastShard = 0;
};

Environment& environmentOf(Napi::Env env);

// Throws the JS error class that belongs to the code.
[[noreturn]] void raise(Napi::Env env, const std::string& code, const std::string& message);
inline void check(Napi::Env env, const Status& status) {
  if (!status.ok()) raise(env, status.code, status.message);
}

// Raises what was caught and is no error of JS: for want of memory ERR_OUT_OF_MEMORY, all else is a bug, ERR_INTERNAL.
// Whoever calls it is in a catch block.
[[noreturn]] void raiseThrown(Napi::Env env);
// What `f` returns; the barrier between native exceptions and JS (on native threads: core/barrier.h).
template <class F>
auto typed(Napi::Env env, const F& f) {
  try {
    return f();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    raiseThrown(env);
  }
}
// Every function of the addon comes through here.
template <class F>
void provide(Napi::Object exports, const char* name, F f) {
  exports.Set(name,
              Napi::Function::New(
                  exports.Env(),
                  [f](const Napi::CallbackInfo& info) { return typed(info.Env(), [&] { return f(info); }); }, name));
}

// The largest whole number that every double below it is exact for, as Number.MAX_SAFE_INTEGER.
constexpr int64_t kLargestWhole = (int64_t{1} << 53) - 1;
// Every number that comes from JS as an integer comes through here: none for fractions, NaN and what is larger.
inline std::optional<int64_t> wholeNumber(double value) {
  constexpr double kLargest = static_cast<double>(kLargestWhole);
  if (!(value >= -kLargest && value <= kLargest)) return std::nullopt;
  const auto whole = static_cast<int64_t>(value);
  return static_cast<double>(whole) == value ? std::optional(whole) : std::nullopt;
}
inline std::optional<int64_t> wholeNumber(const Napi::Value& value) {
  return value.IsNumber() ? wholeNumber(value.As<Napi::Number>().DoubleValue()) : std::nullopt;
}
// As a message shows a number: "1.5", "NaN".
std::string textOf(double value);

// Arguments, checked: a wrong type or range is ERR_ARGUMENT, naming the argument.
double numberAt(const Napi::CallbackInfo& info, size_t index, const char* name, double least, double most);
int64_t integerAt(const Napi::CallbackInfo& info, size_t index, const char* name, int64_t least = -kLargestWhole,
                  int64_t most = kLargestWhole);
// One that becomes an int32: a device, a rank, a count of threads.
inline int32_t smallAt(const Napi::CallbackInfo& info, size_t index, const char* name, int32_t least = INT32_MIN,
                       int32_t most = INT32_MAX) {
  return static_cast<int32_t>(integerAt(info, index, name, least, most));
}
Handle handleAt(const Napi::CallbackInfo& info, size_t index);
int32_t deviceIdAt(const Napi::CallbackInfo& info);  // argument 0
Device& deviceAt(const Napi::CallbackInfo& info);    // the same
std::string stringAt(const Napi::CallbackInfo& info, size_t index, const char* name);

// A typed array; valid until control returns to JS.
struct Source {
  const void* data;
  DType dtype;
  int64_t count;
};
// ERR_DTYPE when its elements are not of type `wanted`.
Source sourceAt(const Napi::CallbackInfo& info, size_t index, DType wanted);
// A Float64Array of whole numbers, none negative.
std::vector<int64_t> offsetsAt(const Napi::CallbackInfo& info, size_t index);

// A promise of something that native threads do; made, settled and ended on the JS thread. Whoever makes one ends it
// until native threads have it, then `settle` does, or `close`.
struct Waiter {
  explicit Waiter(Environment* self);
  ~Waiter();
  Environment* self;
  Napi::Promise::Deferred deferred;
  Napi::Reference<Napi::Value> result;  // what it resolves with, or
  std::vector<std::string> parts;       // bytes that become an array of Uint8Array
  bool hasParts = false;
  std::string error;
};
// From a native thread. The message of an error may begin with its code: "ERR_…: …"; otherwise it is ERR_DEVICE.
void finished(void* waiter, const char* error);

void initOps(Napi::Object exports);
void initTensors(Napi::Object exports);
void initDevices(Napi::Object exports);
void initGroup(Napi::Object exports);
void initMaxSim(Napi::Object exports);
void initData(Napi::Object exports);
void initFiles(Napi::Object exports);

}  // namespace lateforge::binding
