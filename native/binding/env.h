// What the addon keeps for one JavaScript environment (a worker thread has its own).
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "../core/host_group.h"
#include "../core/runtime.h"
#include "../data/shard.h"

namespace lateforge::binding {

struct Environment {
  explicit Environment(Napi::Env env);
  // Streams may wait for the group: it lets go of them before the runtime closes them.
  ~Environment() {
    if (group) group->stop();
  }

  Napi::Env env;
  Napi::FunctionReference makeError;  // (code, message) → Error, given by lib/native.ts
  Napi::ThreadSafeFunction completions;
  int64_t waiting = 0;  // promises not settled; the event loop stays alive while there are any
  std::unique_ptr<HostGroup> group;
  Runtime runtime;
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

// Arguments, checked: a wrong type is ERR_ARGUMENT, naming function and argument.
double numberAt(const Napi::CallbackInfo& info, size_t index, const char* name);
int64_t integerAt(const Napi::CallbackInfo& info, size_t index, const char* name);
Handle handleAt(const Napi::CallbackInfo& info, size_t index);
Device& deviceAt(const Napi::CallbackInfo& info);  // argument 0
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

// A promise of something that native threads do; settled on the JS thread.
struct Waiter {
  explicit Waiter(Environment* self);
  Environment* self;
  Napi::Promise::Deferred deferred;
  Napi::Reference<Napi::Value> result;   // what it resolves with, or
  std::vector<std::string> parts;        // bytes that become an array of Uint8Array
  bool hasParts = false;
  std::string error;
};
// From a native thread. The message of an error may begin with its code: "ERR_…: …"; otherwise it is ERR_DEVICE.
void finished(void* waiter, const char* error);

void initOps(Napi::Env env, Napi::Object exports);
void initTensors(Napi::Env env, Napi::Object exports);
void initDevices(Napi::Env env, Napi::Object exports);
void initGroup(Napi::Env env, Napi::Object exports);
void initMaxSim(Napi::Env env, Napi::Object exports);
void initData(Napi::Env env, Napi::Object exports);
void initFiles(Napi::Env env, Napi::Object exports);

}  // namespace lateforge::binding
