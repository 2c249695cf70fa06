// Devices: opening backends (built in, or a shared library by path), memory figures, threads.
#include <algorithm>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "../cpu/backend.h"
#include "../cpu/factors.h"
#include "../cpu/limits.h"
#include "../cpu/table.h"
#include "../cpu/team.h"
#include "../platform/platform.h"
#include "env.h"

namespace lateforge::binding {

int32_t deviceIdAt(const Napi::CallbackInfo& info) { return smallAt(info, 0, "device", 0); }

Device& deviceAt(const Napi::CallbackInfo& info) {
  Device* device = environmentOf(info.Env()).runtime.device(deviceIdAt(info));
  if (!device) raise(info.Env(), "ERR_DEVICE", "the device is not open");
  return *device;
}

namespace {

// Process-wide: a library is loaded once and never unloaded, because its threads may still run at exit.
const Backend* loadBackend(Napi::Env env, const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, const Backend*> loaded;
  std::lock_guard lock(mutex);
  if (const auto it = loaded.find(path); it != loaded.end()) return it->second;
  std::string problem;
  void* library = platform::loadLibrary(path, problem);
  if (!library) raise(env, "ERR_DEVICE", "cannot load the backend: " + problem);
  const auto entry = reinterpret_cast<BackendEntry>(platform::findSymbol(library, "lateforge_backend"));
  if (!entry) raise(env, "ERR_DEVICE", path + " is no lateforge backend: it does not export lateforge_backend");
  const Backend* backend = entry(kBackendAbi);
  if (!backend)
    raise(env, "ERR_DEVICE",
          path + " was built for another version (this addon has backend ABI " + std::to_string(kBackendAbi) +
              "); install the same version of both");
  return loaded[path] = backend;
}

// (path of a backend library, or "" for the CPU; device index) → { id, name, real }
Napi::Value openDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = stringAt(info, 0, "path");
  const Backend* backend = path.empty() ? cpu::floatBackend() : loadBackend(env, path);
  int32_t id;
  check(env, environmentOf(env).runtime.openDevice(backend, smallAt(info, 1, "index", 0), id));
  auto result = Napi::Object::New(env);
  result.Set("id", id);
  result.Set("name", backend->name);
  result.Set("real", static_cast<double>(backend->real));
  return result;
}

// (path of a backend library) → number of devices
Napi::Value deviceCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), loadBackend(info.Env(), stringAt(info, 0, "path"))->deviceCount());
}

// (path of a backend library) → { name, devices, facts: [[name, value]] }
Napi::Value backendInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Backend* backend = loadBackend(env, stringAt(info, 0, "path"));
  char text[8192] = "";
  if (backend->describe) backend->describe(text, sizeof text);
  auto facts = Napi::Array::New(env);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = std::min(line.find(": "), line.size());
    auto fact = Napi::Array::New(env, 2);
    fact.Set(0u, line.substr(0, colon));
    fact.Set(1u, line.substr(std::min(colon + 2, line.size())));
    facts.Set(facts.Length(), fact);
  }
  auto result = Napi::Object::New(env);
  result.Set("name", backend->name);
  result.Set("devices", backend->deviceCount());
  result.Set("facts", facts);
  return result;
}

// (device) → { tensors, bytes, peak, reserved, limit, pending }
Napi::Value memory(const Napi::CallbackInfo& info) {
  Device& device = deviceAt(info);
  auto result = Napi::Object::New(info.Env());
  result.Set("tensors", static_cast<double>(environmentOf(info.Env()).runtime.liveCount(deviceIdAt(info))));
  result.Set("bytes", static_cast<double>(device.arena.live()));
  result.Set("peak", static_cast<double>(device.arena.peak()));
  result.Set("reserved", static_cast<double>(device.arena.reserved()));
  result.Set("limit", static_cast<double>(device.arena.limit()));
  result.Set("pending", static_cast<double>(device.backend->pending(device.stream)));
  return result;
}

Napi::Value resetPeak(const Napi::CallbackInfo& info) {
  deviceAt(info).arena.resetPeak();
  return info.Env().Undefined();
}

Napi::Value setMemoryLimit(const Napi::CallbackInfo& info) {
  deviceAt(info).arena.setLimit(integerAt(info, 1, "bytes", 0));
  return info.Env().Undefined();
}

// (device) → bytes that go back to the system once the stream comes by
Napi::Value trim(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(deviceAt(info).arena.trim()));
}

// (device, most) → [{ op, tensor, bytes }]: the largest live tensors
Napi::Value largest(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  deviceAt(info);
  auto list = Napi::Array::New(env);
  const auto most = static_cast<size_t>(integerAt(info, 1, "most", 0));
  for (const LiveTensor& t : environmentOf(env).runtime.largest(deviceIdAt(info), most)) {
    auto object = Napi::Object::New(env);
    object.Set("op", t.op);
    object.Set("tensor", t.meta);
    object.Set("bytes", static_cast<double>(t.bytes));
    list.Set(list.Length(), object);
  }
  return list;
}

// (device): from here on, when each op runs is kept
Napi::Value traceStart(const Napi::CallbackInfo& info) {
  deviceAt(info).trace = std::make_shared<Trace>();
  return info.Env().Undefined();
}

// (device) → [{ op, operands, begin, end }], of ops that have run, in milliseconds since traceStart; none is kept from
// here on
Napi::Value traceStop(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto list = Napi::Array::New(env);
  const std::shared_ptr<Trace> trace = std::exchange(deviceAt(info).trace, nullptr);
  if (!trace) return list;
  for (const Trace::Event& event : trace->take()) {
    auto object = Napi::Object::New(env);
    object.Set("op", event.op);
    object.Set("operands", event.operands);
    object.Set("begin", event.begin);
    object.Set("end", event.end);
    list.Set(list.Length(), object);
  }
  return list;
}

// () → { isa, threads, nice, matmul }
Napi::Value cpuInfo(const Napi::CallbackInfo& info) {
  char error[kErrorBytes] = "";
  const cpu::Isa* isa = cpu::chooseIsa(error);
  if (!isa) check(info.Env(), told("ERR_DEVICE", error));
  auto result = Napi::Object::New(info.Env());
  result.Set("isa", isa->name);
  result.Set("threads", cpu::Team::instance().threads());
  result.Set("nice", cpu::Team::instance().nice());
  result.Set("matmul", cpu::factors() == cpu::Factors::bfloat16 ? "bfloat16" : "float32");
  return result;
}

// (whether matrix products round their factors to bfloat16)
Napi::Value setMatmul(const Napi::CallbackInfo& info) {
  const bool rounds = info[0].ToBoolean();
  if (rounds && !cpu::bfloat16Here())
    raise(info.Env(), "ERR_UNSUPPORTED", "matmul: 'bfloat16' needs a processor with AVX512-BF16, and its kernels");
  cpu::setFactors(rounds ? cpu::Factors::bfloat16 : cpu::Factors::exact);
  return info.Env().Undefined();
}

Napi::Value setThreads(const Napi::CallbackInfo& info) {
  cpu::Team::instance().setThreads(smallAt(info, 0, "threads", 1, cpu::kMostThreads));
  return info.Env().Undefined();
}

// (nice value, from 0 to 19): tried on a thread of its own, so that what the system refuses is an error.
Napi::Value setNice(const Napi::CallbackInfo& info) {
  const int nice = smallAt(info, 0, "nice", 0, cpu::kMostNice);
  std::string problem;
  std::thread([&] { platform::setNice(nice, problem); }).join();
  if (!problem.empty()) raise(info.Env(), "ERR_UNSUPPORTED", "the system refuses the nice value: " + problem);
  cpu::Team::instance().setNice(nice);
  return info.Env().Undefined();
}

// Measures on Node's thread pool.
class Measure : public Napi::AsyncWorker {
 public:
  Measure(Napi::Env env, const Device& device, double seconds)
      : Napi::AsyncWorker(env),
        deferred(Napi::Promise::Deferred::New(env)),
        backend_(device.backend),
        index_(device.index),
        seconds_(seconds) {}
  const Napi::Promise::Deferred deferred;

 private:
  void Execute() override {
    char error[kErrorBytes] = "";
    if (backend_->peak && backend_->peak(index_, seconds_, &peak_, error)) SetError(error);
  }
  void OnOK() override {
    auto result = Napi::Object::New(Env());
    result.Set("fp32", peak_.fp32);
    result.Set("fp16", peak_.fp16);
    result.Set("memory", peak_.memory);
    result.Set("cache", peak_.cache);
    deferred.Resolve(result);
  }
  void OnError(const Napi::Error& error) override {
    deferred.Reject(environmentOf(Env()).makeError.Call(
        {Napi::String::New(Env(), "ERR_DEVICE"), Napi::String::New(Env(), error.Message())}));
  }

  const Backend* backend_;
  const int32_t index_;
  const double seconds_;
  Peak peak_{};
};

// (device, seconds) → Promise<{ fp32, fp16, memory, cache }>, what it can do in a second; 0: not measured
Napi::Value peak(const Napi::CallbackInfo& info) {
  auto* measure = new Measure(info.Env(), deviceAt(info), numberAt(info, 1, "seconds", 0, 3600));
  const Napi::Promise promise = measure->deferred.Promise();
  measure->Queue();  // deletes itself
  return promise;
}

}  // namespace

void initDevices(Napi::Object exports) {
  provide(exports, "openDevice", openDevice);
  provide(exports, "deviceCount", deviceCount);
  provide(exports, "backendInfo", backendInfo);
  provide(exports, "memory", memory);
  provide(exports, "resetPeak", resetPeak);
  provide(exports, "setMemoryLimit", setMemoryLimit);
  provide(exports, "trim", trim);
  provide(exports, "largest", largest);
  provide(exports, "traceStart", traceStart);
  provide(exports, "traceStop", traceStop);
  provide(exports, "cpuInfo", cpuInfo);
  provide(exports, "setMatmul", setMatmul);
  provide(exports, "peak", peak);
  provide(exports, "setThreads", setThreads);
  provide(exports, "setNice", setNice);
}

}  // namespace lateforge::binding
