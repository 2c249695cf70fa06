// The group of ranks this process belongs to: one at most, opened once, used by one environment.
#include <cmath>
#include <mutex>

#include "../platform/platform.h"
#include "env.h"

namespace lateforge::binding {
namespace {

HostGroup& groupOf(const Napi::CallbackInfo& info) {
  const auto& group = environmentOf(info.Env()).group;
  if (!group) raise(info.Env(), "ERR_GROUP", "this environment has not joined a group");
  return *group;
}

// (names of a library) → what the loader said of each, or [] once one is loaded
Napi::Value shareLibrary(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsArray()) raise(env, "ERR_ARGUMENT", "names must be an array");
  const auto names = info[0].As<Napi::Array>();
  static std::mutex mutex;
  static std::string shared;  // by this process: a second MPI would be given the symbols of the first
  std::lock_guard lock(mutex);
  auto refusals = Napi::Array::New(env);
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString();
    if (!shared.empty() && shared != name) {
      refusals.Set(i, name + ": this process already uses " + shared);
      continue;
    }
    std::string problem;
    if (platform::loadLibrary(name, problem, true)) {
      shared = name;
      return Napi::Array::New(env);
    }
    refusals.Set(i, problem);
  }
  return refusals;
}

// (path of a transport library) → { rank, size, transport }
Napi::Value groupOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (environmentOf(env).group) raise(env, "ERR_GROUP", "this environment has already joined a group");
  const std::string path = stringAt(info, 0, "path");
  std::string problem;
  void* library = platform::loadLibrary(path, problem);
  if (!library) raise(env, "ERR_GROUP", "cannot load the transport: " + problem);
  const auto entry = reinterpret_cast<TransportEntry>(platform::findSymbol(library, "lateforge_transport"));
  const Transport* transport = entry ? entry(kTransportAbi) : nullptr;
  if (!transport)
    raise(env, "ERR_GROUP", path + " is no transport of this version of lateforge; install the same version of both");
  char error[kTransportErrorBytes] = "";
  int32_t rank, size;
  {
    static std::mutex mutex;  // of the process: environments may open at once, and a transport opens for one of them
    std::lock_guard lock(mutex);
    if (transport->open(&rank, &size, error)) {
      const Status reason = told("ERR_GROUP", error);
      raise(env, reason.code, std::string(transport->name) + ": " + reason.message);
    }
  }
  environmentOf(env).group = std::make_unique<HostGroup>(transport, rank, size);
  auto result = Napi::Object::New(env);
  result.Set("rank", rank);
  result.Set("size", size);
  result.Set("transport", transport->name);
  return result;
}

// (deadline of a collective, of an exchange, and grace, in seconds, exit code, path of the record)
Napi::Value groupConfigure(const Napi::CallbackInfo& info) {
  GroupSettings settings;
  settings.deadlineSeconds = numberAt(info, 0, "deadline", 0, HUGE_VAL);
  settings.exchangeSeconds = numberAt(info, 1, "exchangeDeadline", 0, HUGE_VAL);
  settings.graceSeconds = numberAt(info, 2, "grace", 0, 3600);
  settings.exitCode = smallAt(info, 3, "exitCode", 0, 255);
  settings.record = stringAt(info, 4, "record");
  groupOf(info).configure(settings);
  return info.Env().Undefined();
}

std::vector<int64_t> countsAt(const Napi::CallbackInfo& info, size_t index) {
  std::vector<int64_t> counts;
  if (info[index].IsNull()) return counts;
  if (!info[index].IsArray()) raise(info.Env(), "ERR_ARGUMENT", "counts of rows must be an array, or null");
  const auto list = info[index].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const std::optional<int64_t> n = wholeNumber(list.Get(i));
    if (!n || *n < 0) raise(info.Env(), "ERR_ARGUMENT", "a count of rows must be a whole number, not negative");
    counts.push_back(*n);
  }
  return counts;
}

// (kind, handle, rows for each rank, rows from each rank, root) → [handle of the result or 0, ticket]
Napi::Value groupCollective(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  HostGroup& group = groupOf(info);
  const int64_t kind = integerAt(info, 0, "kind", 0, static_cast<int64_t>(Collective::exchange) - 1);
  const CollectiveRequest request{static_cast<Collective>(kind), handleAt(info, 1), countsAt(info, 2),
                                  countsAt(info, 3), smallAt(info, 4, "root")};
  Handle out;
  uint64_t ticket;
  check(env, environmentOf(env).collectives.start(group, request, out, ticket));
  auto result = Napi::Array::New(env, 2);
  result.Set(0u, static_cast<double>(out));
  result.Set(1u, static_cast<double>(ticket));
  return result;
}

// (ticket)
Napi::Value groupWait(const Napi::CallbackInfo& info) {
  HostGroup& group = groupOf(info);
  check(info.Env(),
        environmentOf(info.Env()).collectives.wait(group, static_cast<uint64_t>(integerAt(info, 0, "ticket", 0))));
  return info.Env().Undefined();
}

// (bytes) → Promise<Uint8Array[]>, every rank's in rank order
Napi::Value groupExchange(const Napi::CallbackInfo& info) {
  HostGroup& group = groupOf(info);
  if (!info[0].IsTypedArray()) raise(info.Env(), "ERR_ARGUMENT", "bytes must be a Uint8Array");
  const auto bytes = info[0].As<Napi::Uint8Array>();
  auto owned = std::make_unique<Waiter>(&environmentOf(info.Env()));
  owned->hasParts = true;
  const Napi::Promise promise = owned->deferred.Promise();
  std::string message(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
  group.exchange(std::move(message), [waiter = owned.release()](std::vector<std::string> parts, const char* error) {
    waiter->parts = std::move(parts);
    finished(waiter, error);
  });
  return promise;
}

Napi::Value groupMark(const Napi::CallbackInfo& info) {
  groupOf(info).mark(stringAt(info, 0, "place"));
  return info.Env().Undefined();
}

// (reason, rank that is missing or -1)
Napi::Value groupFail(const Napi::CallbackInfo& info) {
  groupOf(info).fail(stringAt(info, 0, "reason"), smallAt(info, 1, "missing", -1, groupOf(info).size() - 1));
  return info.Env().Undefined();
}

// () → { reason, missing } or null
Napi::Value groupFailure(const Napi::CallbackInfo& info) {
  const auto failure = groupOf(info).failure();
  if (!failure) return info.Env().Null();
  auto result = Napi::Object::New(info.Env());
  result.Set("reason", failure->reason);
  result.Set("missing", failure->missing);
  return result;
}

// () → { calls: {allGather: n, …}, bytes: {…}, busySeconds, waitSeconds }
Napi::Value groupStats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const GroupStats stats = groupOf(info).stats();
  auto calls = Napi::Object::New(env), bytes = Napi::Object::New(env), result = Napi::Object::New(env);
  for (int i = 0; i < kCollectives; ++i) {
    calls.Set(nameOf(static_cast<Collective>(i)), static_cast<double>(stats.calls[i]));
    bytes.Set(nameOf(static_cast<Collective>(i)), static_cast<double>(stats.bytes[i]));
  }
  result.Set("calls", calls);
  result.Set("bytes", bytes);
  result.Set("busySeconds", stats.busySeconds);
  result.Set("waitSeconds", stats.waitSeconds);
  return result;
}

Napi::Value groupClose(const Napi::CallbackInfo& info) {
  groupOf(info).close();
  return info.Env().Undefined();
}

}  // namespace

void initGroup(Napi::Object exports) {
  provide(exports, "shareLibrary", shareLibrary);
  provide(exports, "groupOpen", groupOpen);
  provide(exports, "groupConfigure", groupConfigure);
  provide(exports, "groupCollective", groupCollective);
  provide(exports, "groupWait", groupWait);
  provide(exports, "groupExchange", groupExchange);
  provide(exports, "groupMark", groupMark);
  provide(exports, "groupFail", groupFail);
  provide(exports, "groupFailure", groupFailure);
  provide(exports, "groupStats", groupStats);
  provide(exports, "groupClose", groupClose);
}

}  // namespace lateforge::binding
