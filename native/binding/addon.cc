#include <cmath>
#include <cstdio>
#include <cstring>

#include "../runtime/guard.h"
#include "env.h"

namespace lateforge::binding {

constexpr int kBlockDoubles = 64;

Environment::Environment(Napi::Env env) : env(env) {}

Environment::~Environment() { close(); }

void Environment::close() {
  {
    std::lock_guard lock(mutex);
    closing = true;
  }
  if (group) group->stop();  // streams may wait for it
  runtime.closeStreams();
  group = nullptr;  // its threads work in the runtime's memory
  collectives.clear();
  runtime.clear();
  while (!waiting.empty()) delete *waiting.begin();
}

Waiter::Waiter(Environment* self) : self(self), deferred(Napi::Promise::Deferred::New(self->env)) {
  error.reserve(2 * kErrorBytes);  // a native thread may have to say that there is no memory
  if (self->waiting.empty()) self->completions.Ref(self->env);
  self->waiting.insert(this);
}

Waiter::~Waiter() {
  self->waiting.erase(this);
  if (self->waiting.empty()) self->completions.Unref(self->env);
}

static Napi::Value arrays(Napi::Env env, const std::vector<std::string>& parts) {
  auto list = Napi::Array::New(env, parts.size());
  for (uint32_t i = 0; i < parts.size(); ++i) {
    auto bytes = Napi::Uint8Array::New(env, parts[i].size());
    std::memcpy(bytes.Data(), parts[i].data(), parts[i].size());
    list.Set(i, bytes);
  }
  return list;
}

static void settleOne(Napi::Env env, const Waiter& waiter) {
  if (waiter.error.empty()) {
    waiter.deferred.Resolve(waiter.hasParts           ? arrays(env, waiter.parts)
                            : waiter.result.IsEmpty() ? env.Undefined()
                                                      : waiter.result.Value());
    return;
  }
  const size_t colon = waiter.error.rfind("ERR_", 0) == 0 ? waiter.error.find(": ") : std::string::npos;
  const std::string code = colon == std::string::npos ? "ERR_DEVICE" : waiter.error.substr(0, colon);
  const std::string message = colon == std::string::npos ? waiter.error : waiter.error.substr(colon + 2);
  waiter.deferred.Reject(waiter.self->makeError.Call({Napi::String::New(env, code), Napi::String::New(env, message)}));
}

void Environment::settle() {
  std::vector<Waiter*> ready;
  {
    std::lock_guard lock(mutex);
    ready.swap(done);
  }
  for (Waiter* waiter : ready) {
    const std::unique_ptr<Waiter> owned(waiter);
    Napi::HandleScope scope(env);
    try {
      settleOne(env, *waiter);
    } catch (const Napi::Error&) {
      // A worker that is being terminated runs no JavaScript any more: nobody waits for the promise.
    }
  }
}

void Environment::callSettle(Napi::Env env, Napi::Function, Environment* self, void*) {
  if (env != nullptr) self->settle();
}

// When the environment is closing nobody is told: `close` ends the waiter.
void finished(void* context, const char* error) {
  auto* waiter = static_cast<Waiter*>(context);
  Environment* self = waiter->self;
  if (error) waiter->error = error;
  std::lock_guard lock(self->mutex);
  if (self->closing) return;
  self->done.push_back(waiter);
  if (self->done.size() > 1) return;  // they are called for already
  self->completions.NonBlockingCall();
}

Environment& environmentOf(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void raise(Napi::Env env, const std::string& code, const std::string& message) {
  Environment& self = environmentOf(env);
  if (self.makeError.IsEmpty()) throw Napi::Error::New(env, code + ": " + message);
  const Napi::Value error = self.makeError.Call({Napi::String::New(env, code), Napi::String::New(env, message)});
  throw Napi::Error(env, error);
}

void raiseThrown(Napi::Env env) {
  char error[kErrorBytes];
  describeThrown(error);
  const char* message = withoutCode(error);
  const std::string code = message == error ? "ERR_INTERNAL" : std::string(error, message - error - 2);
  raise(env, code, message);
}

std::string textOf(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char text[32];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

double numberAt(const Napi::CallbackInfo& info, size_t index, const char* name, double least, double most) {
  if (!info[index].IsNumber()) raise(info.Env(), "ERR_ARGUMENT", std::string(name) + " must be a number");
  const double value = info[index].As<Napi::Number>().DoubleValue();
  if (!(value >= least && value <= most))
    raise(info.Env(), "ERR_ARGUMENT",
          std::string(name) + " is " + textOf(value) + ", expected " + textOf(least) + " to " + textOf(most));
  return value;
}

int64_t integerAt(const Napi::CallbackInfo& info, size_t index, const char* name, int64_t least, int64_t most) {
  if (!info[index].IsNumber()) raise(info.Env(), "ERR_ARGUMENT", std::string(name) + " must be a number");
  const std::optional<int64_t> value = wholeNumber(info[index]);
  if (!value || *value < least || *value > most)
    raise(info.Env(), "ERR_ARGUMENT",
          std::string(name) + " is " + textOf(info[index].As<Napi::Number>().DoubleValue()) +
              ", expected a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return *value;
}

Handle handleAt(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<Handle>(integerAt(info, index, "handle", 0));
}

std::string stringAt(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsString()) raise(info.Env(), "ERR_ARGUMENT", std::string(name) + " must be a string");
  return info[index].As<Napi::String>().Utf8Value();
}

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* self = new Environment(env);
  env.SetInstanceData(self);
  auto block = Napi::Float64Array::New(env, kBlockDoubles);
  self->block = block.Data();
  self->blockReference = Napi::Persistent(block);
  self->completions = decltype(self->completions)::New(env, "lateforge", 0, 1, self);
  self->completions.Unref(env);
  // Hooks run last in, first out: this one before that of `completions`, and both before anything is finalized.
  env.AddCleanupHook([](Environment* closing) { closing->close(); }, self);
  exports.Set("block", block);
  provide(exports, "setErrorFactory", [](const Napi::CallbackInfo& info) {
    environmentOf(info.Env()).makeError = Napi::Persistent(info[0].As<Napi::Function>());
  });
  initDevices(exports);
  initTensors(exports);
  initOps(exports);
  initGroup(exports);
  initMaxSim(exports);
  initData(exports);
  initFiles(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(lateforge, init)

}  // namespace lateforge::binding
