#include "env.h"

namespace lateforge::binding {

constexpr int kBlockDoubles = 64;

Environment::Environment(Napi::Env env) : env(env) {}

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
  initData(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(lateforge, init)

}  // namespace lateforge::binding
