#include "env.h"

#include <cstring>

namespace lateforge::binding {

constexpr int kBlockDoubles = 64;

Environment::Environment(Napi::Env env) : env(env) {}

Waiter::Waiter(Environment* self) : self(self), deferred(Napi::Promise::Deferred::New(self->env)) {
  error.reserve(2 * kErrorBytes);  // a native thread may have to say that there is no memory
  if (self->waiting++ == 0) self->completions.Ref(self->env);
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

static void settle(Napi::Env env, Napi::Function, Waiter* waiter) {
  if (env != nullptr) {
    Environment* self = waiter->self;
    if (--self->waiting == 0) self->completions.Unref(env);
    if (waiter->error.empty()) {
      waiter->deferred.Resolve(waiter->hasParts           ? arrays(env, waiter->parts)
                               : waiter->result.IsEmpty() ? env.Undefined()
                                                          : waiter->result.Value());
    } else {
      const size_t colon = waiter->error.rfind("ERR_", 0) == 0 ? waiter->error.find(": ") : std::string::npos;
      const std::string code = colon == std::string::npos ? "ERR_DEVICE" : waiter->error.substr(0, colon);
      const std::string message = colon == std::string::npos ? waiter->error : waiter->error.substr(colon + 2);
      waiter->deferred.Reject(
          self->makeError.Call({Napi::String::New(env, code), Napi::String::New(env, message)}));
    }
  }
  delete waiter;
}

// When the environment is closing the waiter is dropped: its promise no longer exists.
void finished(void* context, const char* error) {
  auto* waiter = static_cast<Waiter*>(context);
  if (error) waiter->error = error;
  waiter->self->completions.NonBlockingCall(waiter, settle);
}

Environment& environmentOf(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void raise(Napi::Env env, const std::string& code, const std::string& message) {
  Environment& self = environmentOf(env);
  if (self.makeError.IsEmpty()) throw Napi::Error::New(env, code + ": " + message);
  const Napi::Value error = self.makeError.Call({Napi::String::New(env, code), Napi::String::New(env, message)});
  throw Napi::Error(env, error);
}

double numberAt(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsNumber()) raise(info.Env(), "ERR_ARGUMENT", std::string(name) + " must be a number");
  return info[index].As<Napi::Number>().DoubleValue();
}

int64_t integerAt(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const double value = numberAt(info, index, name);
  if (value != static_cast<double>(static_cast<int64_t>(value)) || value > 9007199254740991.0 ||
      value < -9007199254740991.0)
    raise(info.Env(), "ERR_ARGUMENT", std::string(name) + " must be an integer, got " + std::to_string(value));
  return static_cast<int64_t>(value);
}

Handle handleAt(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<Handle>(integerAt(info, index, "handle"));
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
  self->completions = Napi::ThreadSafeFunction::New(env, Napi::Function(), "lateforge", 0, 1);
  self->completions.Unref(env);
  exports.Set("block", block);
  exports.Set("setErrorFactory", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                environmentOf(info.Env()).makeError = Napi::Persistent(info[0].As<Napi::Function>());
              }));
  initDevices(env, exports);
  initTensors(env, exports);
  initOps(env, exports);
  initGroup(env, exports);
  initMaxSim(env, exports);
  initData(env, exports);
  initFiles(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(lateforge, init)

}  // namespace lateforge::binding
