#include "runtime.h"

#include <algorithm>
#include <cstring>

#include "../platform/platform.h"

namespace lateforge {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

void gatherFacts(Meta& meta, const void* data) {
  if (meta.dtype != DType::i32 && meta.dtype != DType::i64) return;
  auto facts = std::make_shared<IntFacts>();
  const int64_t n = meta.count();
  auto scan = [&](auto* values) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t v = values[i];
      if (i == 0) facts->min = facts->max = v;
      facts->min = std::min(facts->min, v);
      facts->max = std::max(facts->max, v);
      if (i && v <= values[i - 1]) facts->increasing = false;
    }
  };
  if (meta.dtype == DType::i32) {
    const auto* values = static_cast<const int32_t*>(data);
    scan(values);
    if (meta.rank == 1) facts->counts = std::make_shared<const std::vector<int32_t>>(values, values + n);
  } else {
    const auto* values = static_cast<const int64_t*>(data);
    scan(values);
    facts->values = std::make_shared<const std::vector<int64_t>>(values, values + n);
  }
  meta.facts = facts;
}

Status upload(Device* device, void* target, const void* data, int64_t bytes) {
  LF_REQUIRE(device->backend->upload(device->stream, target, data, static_cast<size_t>(bytes)) == 0,
             "ERR_OUT_OF_MEMORY", "the host has no memory for a copy of %.1f MiB on its way to %s",
             static_cast<double>(bytes) / kMiB, device->backend->name);
  return Status::fine();
}

// "x float32 [3, 4], w float32 [2, 4]"
std::string textOf(const OpSpec& spec, const Meta* metas) {
  std::string text;
  for (size_t i = 0; i < spec.inputs.size(); ++i)
    if (metas[i].present()) text += (text.empty() ? "" : ", ") + spec.inputs[i].name + " " + metas[i].text();
  return text;
}

struct Mapping {
  void* data;
  size_t bytes;
};
int32_t unmap(void* context, const char*, char*) {
  const std::unique_ptr<Mapping> mapping(static_cast<Mapping*>(context));
  platform::unmapFile(static_cast<const uint8_t*>(mapping->data), mapping->bytes);
  return 0;
}

}  // namespace

// Ops that use it may still be queued; they come first.
Storage::~Storage() {
  if (!mapped)
    device->arena.release(data);
  else if (auto* mapping = new Mapping{data, mapped}; device->stream)
    device->backend->hostCall(device->stream, unmap, mapping);
  else
    unmap(mapping, nullptr, nullptr);
}

void Runtime::closeStreams() {
  for (auto& device : devices_) device->close();
}

void Runtime::clear() {
  closeStreams();
  entries_.clear();
  devices_.clear();
}

Status Runtime::openDevice(const Backend* backend, int32_t index, int32_t& id) {
  for (size_t i = 0; i < devices_.size(); ++i)
    if (devices_[i]->backend == backend && devices_[i]->index == index) {
      id = static_cast<int32_t>(i);
      return Status::fine();
    }
  const int32_t count = backend->deviceCount();
  LF_REQUIRE(count == 0 || (index >= 0 && index < count), "ERR_DEVICE", "%s device %d does not exist: %d found",
             backend->name, index, count);
  char error[kErrorBytes] = "";
  Stream* stream = backend->openStream(index, error);
  if (!stream) {
    const Status reason = told("ERR_DEVICE", error);
    return Status::error(reason.code.c_str(), "%s device %d cannot be opened: %s", backend->name, index,
                         reason.message.c_str());
  }
  devices_.push_back(std::make_unique<Device>(backend, index, stream));
  id = static_cast<int32_t>(devices_.size()) - 1;
  return Status::fine();
}

Runtime::Entry* Runtime::find(Handle handle) {
  const uint64_t index = handle & kMostTensors;
  if (index == 0 || index >= entries_.size()) return nullptr;
  Entry& entry = entries_[index];
  return entry.storage && entry.generation == handle >> kIndexBits ? &entry : nullptr;
}

Status Runtime::resolve(const char* what, Handle handle, Entry*& entry) {
  entry = find(handle);
  LF_REQUIRE(entry, "ERR_DISPOSED", "%s: the tensor was disposed of or belongs to another environment", what);
  return Status::fine();
}

Status Runtime::allocate(Device* device, int64_t bytes, const char* what, std::shared_ptr<Storage>& storage) {
  Arena& arena = device->arena;
  void* data = arena.allocate(bytes);
  if (!data) {
    int32_t id = 0;
    while (devices_[id].get() != device) ++id;
    std::string text;
    for (const LiveTensor& t : largest(id, 5)) {
      char line[256];
      std::snprintf(line, sizeof line, "\n  %8.1f MiB  %s of %s", static_cast<double>(t.bytes) / kMiB, t.meta.c_str(),
                    t.op.c_str());
      text += line;
    }
    // Below the limit, but not in one piece, or not to be had from the device.
    const bool scattered = bytes <= arena.limit() - arena.live();
    text += scattered ? "\nDisposing of tensors that lie between free pieces, or `await device.trim()` where another "
                        "program took the device's memory, would help"
                      : "\nSmaller microBatchTokens or batch, or a higher LATEFORGE_MEMORY_LIMIT, would help";
    const auto mib = [](int64_t n) { return static_cast<double>(n) / kMiB; };
    const Arena::Free free = arena.free();
    return Status::error(
        "ERR_OUT_OF_MEMORY",
        "%s asks for %.1f MiB on %s; live %.1f MiB, limit %.1f MiB, reserved %.1f MiB, of it free %.1f "
        "MiB in %lld pieces, the largest %.1f MiB. Largest tensors:%s",
        what, mib(bytes), device->backend->name, mib(arena.live()), mib(arena.limit()), mib(arena.reserved()),
        mib(free.bytes), static_cast<long long>(free.pieces), mib(free.largest), text.c_str());
  }
  storage = std::make_shared<Storage>(device, data);
  return Status::fine();
}

Status Runtime::checkRoom(const char* what, size_t more) const {
  const uint64_t unused = mostTensors_ + 1 - std::min<uint64_t>(entries_.size(), mostTensors_ + 1);
  LF_REQUIRE(freeEntries_.size() + unused >= more, "ERR_OUT_OF_MEMORY",
             "%s: more than %llu live tensors; some are never disposed of", what,
             static_cast<unsigned long long>(mostTensors_));
  return Status::fine();
}

Handle Runtime::insert(std::shared_ptr<Storage> storage, char* data, Meta meta, const char* op) {
  uint64_t index;
  if (freeEntries_.empty()) {
    index = entries_.size();
    entries_.emplace_back();
  } else {
    index = freeEntries_.back();
    freeEntries_.pop_back();
  }
  Entry& entry = entries_[index];
  entry.storage = std::move(storage);
  entry.data = data;
  entry.meta = std::move(meta);
  entry.op = op;
  return entry.generation << kIndexBits | index;
}

void Runtime::forgetFacts(Entry& entry) {
  if (entry.meta.dtype != DType::i32 && entry.meta.dtype != DType::i64) return;
  entry.meta.facts = nullptr;
  if (entry.storage.use_count() == 1) return;
  for (Entry& other : entries_)
    if (other.storage == entry.storage) other.meta.facts = nullptr;
}

Status Runtime::create(int32_t id, Meta meta, const void* data, Handle& handle) {
  Device* target = device(id);
  LF_REQUIRE(target, "ERR_DEVICE", "device %d is not open", id);
  LF_TRY(checkRoom("a new tensor", 1));
  std::shared_ptr<Storage> storage;
  LF_TRY(allocate(target, meta.bytes(), "a new tensor", storage));
  if (data) {
    gatherFacts(meta, data);
    LF_TRY(upload(target, storage->data, data, meta.bytes()));
  }
  char* address = static_cast<char*>(storage->data);
  handle = insert(std::move(storage), address, std::move(meta), "tensor");
  return Status::fine();
}

Status Runtime::map(int32_t id, const std::string& path, int64_t offset, Meta meta, Handle& handle) {
  Device* target = device(id);
  LF_REQUIRE(target, "ERR_DEVICE", "device %d is not open", id);
  LF_TRY(checkRoom("a mapped file", 1));
  const uint8_t* data = nullptr;
  size_t bytes = 0;
  std::string problem;
  LF_REQUIRE(platform::mapFile(path, data, bytes, problem), "ERR_FILE", "%s %s", path.c_str(), problem.c_str());
  const auto refuse = [&](Status status) {
    if (data) platform::unmapFile(data, bytes);
    return status;
  };
  const int64_t size = static_cast<int64_t>(bytes);
  if (offset < 0 || offset > size || !meta.countable() || meta.bytes() > size - offset ||
      offset % sizeOf(meta.dtype) != 0)
    return refuse(Status::error("ERR_FORMAT", "%s has %lld bytes, not %s from byte %lld on", path.c_str(),
                                static_cast<long long>(size), meta.text().c_str(), static_cast<long long>(offset)));
  void* address = const_cast<uint8_t*>(data);
  if (bytes == 0) return create(id, meta, "", handle);
  handle = insert(std::make_shared<Storage>(target, address, bytes), static_cast<char*>(address) + offset,
                  std::move(meta), "mapped file");
  return Status::fine();
}

Status Runtime::write(Handle handle, DType dtype, const void* data, int64_t count) {
  Entry* entry;
  LF_TRY(resolve("write", handle, entry));
  LF_REQUIRE(entry->meta.dtype == dtype, "ERR_DTYPE", "write: the tensor is %s, the data %s",
             entry->meta.text().c_str(), nameOf(dtype));
  LF_REQUIRE(entry->meta.count() == count, "ERR_SHAPE", "write: the tensor is %s, the data has %lld elements",
             entry->meta.text().c_str(), static_cast<long long>(count));
  LF_REQUIRE(!entry->storage->mapped, "ERR_ARGUMENT", "write: the tensor is of a mapped file, which is never written");
  LF_TRY(upload(entry->storage->device, entry->data, data, entry->meta.bytes()));
  forgetFacts(*entry);
  gatherFacts(entry->meta, data);
  return Status::fine();
}

Status Runtime::view(Handle handle, int64_t offset, const Meta& shape, Handle& result) {
  Entry* entry;
  LF_TRY(resolve("view", handle, entry));
  LF_TRY(checkRoom("view", 1));
  const int64_t count = shape.count();
  LF_REQUIRE(offset >= 0 && count >= 0 && count <= entry->meta.count() && offset <= entry->meta.count() - count,
             "ERR_SHAPE", "view: %lld elements from %lld on do not lie in %s", static_cast<long long>(count),
             static_cast<long long>(offset), entry->meta.text().c_str());
  Meta meta = shape;
  meta.dtype = entry->meta.dtype;
  char* data = entry->data + offset * sizeOf(meta.dtype);
  // What holds for the whole holds for a part; segments are only ever viewed whole.
  if (entry->meta.facts && count == entry->meta.count()) {
    meta.facts = entry->meta.facts;
  } else if (entry->meta.facts) {
    IntFacts facts = *entry->meta.facts;
    facts.values = nullptr;
    if (facts.counts)
      facts.counts = std::make_shared<const std::vector<int32_t>>(facts.counts->begin() + offset,
                                                                  facts.counts->begin() + offset + count);
    meta.facts = std::make_shared<IntFacts>(std::move(facts));
  }
  const char* op = entry->op;
  std::shared_ptr<Storage> storage = entry->storage;
  result = insert(std::move(storage), data, std::move(meta), op);
  return Status::fine();
}

Status Runtime::run(Op op, const Handle* in, const void* params, size_t paramsBytes, Handle* out) {
  const OpSpec& spec = specOf(op);
  LF_TRY(checkRoom(spec.name, spec.outputs.size()));
  OpCall call{};
  call.op = op;
  std::memcpy(call.params, params, paramsBytes);
  Meta metas[kMaxInputs];
  Device* target = nullptr;
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    if (in[i] == 0) continue;
    Entry* entry = find(in[i]);
    LF_REQUIRE(entry, "ERR_DISPOSED", "%s: input %s was disposed of", spec.name, spec.inputs[i].name.c_str());
    LF_REQUIRE(!target || target == entry->storage->device, "ERR_DEVICE", "%s: input %s is on %s, the others on %s",
               spec.name, spec.inputs[i].name.c_str(), entry->storage->device->backend->name,
               target ? target->backend->name : "");
    LF_REQUIRE(!entry->storage->mapped || !(spec.inputs[i].accumulated || spec.inputs[i].overwritten), "ERR_ARGUMENT",
               "%s: input %s is of a mapped file, which is never written", spec.name, spec.inputs[i].name.c_str());
    target = entry->storage->device;
    metas[i] = entry->meta;
    call.in[i] = viewOf(entry->meta, entry->data);
  }
  Inferred inferred;
  LF_TRY(infer(op, params, metas, inferred));
  const uint8_t types = target->backend->supported[static_cast<int>(op)];
  LF_REQUIRE(types, "ERR_UNSUPPORTED", "%s is not available on %s", spec.name, target->backend->name);
  auto checkType = [&](const std::string& name, const Meta& meta) {
    LF_REQUIRE(!meta.present() || !isReal(meta.dtype) || types & bitOf(meta.dtype), "ERR_DTYPE",
               "%s: %s is %s, which %s does not compute with; cast it", spec.name, name.c_str(), meta.text().c_str(),
               target->backend->name);
    return Status::fine();
  };
  for (size_t i = 0; i < spec.inputs.size(); ++i) LF_TRY(checkType(spec.inputs[i].name, metas[i]));
  for (size_t i = 0; i < spec.outputs.size(); ++i) LF_TRY(checkType(spec.outputs[i].name, inferred.out[i]));
  std::shared_ptr<Storage> storages[kMaxOutputs], workspace;
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    const Meta& meta = inferred.out[i];
    if (!meta.present()) continue;
    LF_REQUIRE(meta.countable(), "ERR_SHAPE", "%s: the result %s has more elements than can be counted", spec.name,
               meta.text().c_str());
    LF_TRY(allocate(target, meta.bytes(), spec.name, storages[i]));
    call.out[i] = viewOf(meta, storages[i]->data);
  }
  call.workspaceBytes = target->backend->workspace(target->stream, &call);
  if (call.workspaceBytes) {
    LF_TRY(allocate(target, call.workspaceBytes, (std::string("the workspace of ") + spec.name).c_str(), workspace));
    call.workspace = workspace->data;
  }
  const auto issue = [&] { target->backend->run(target->stream, &call); };
  if (target->trace)
    Trace::around(target->trace, target->backend, target->stream, spec.name, textOf(spec, metas), issue);
  else
    issue();
  for (size_t i = 0; i < spec.inputs.size(); ++i)  // what a kernel writes is no longer what the host uploaded
    if ((spec.inputs[i].accumulated || spec.inputs[i].overwritten) && in[i]) forgetFacts(*find(in[i]));
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    out[i] = 0;
    if (!storages[i]) continue;
    char* data = static_cast<char*>(storages[i]->data);
    out[i] = insert(std::move(storages[i]), data, std::move(inferred.out[i]), spec.name);
  }
  return Status::fine();
}

Status Runtime::read(Handle handle, void* target, Done done, void* context) {
  Entry* entry;
  LF_TRY(resolve("read", handle, entry));
  Device* from = entry->storage->device;
  from->backend->download(from->stream, target, entry->data, static_cast<size_t>(entry->meta.bytes()), done, context);
  return Status::fine();
}

Status Runtime::describe(Handle handle, Meta& meta) {
  Entry* entry;
  LF_TRY(resolve("describe", handle, entry));
  meta = entry->meta;
  return Status::fine();
}

bool Runtime::dispose(Handle handle) {
  Entry* entry = find(handle);
  if (!entry) return false;
  entry->storage = nullptr;
  entry->meta = Meta{};
  // An entry whose generations are used up is retired, so that a handle stays exact in a double.
  if (++entry->generation < uint64_t{1} << (53 - kIndexBits))
    freeEntries_.push_back(static_cast<uint32_t>(handle & kMostTensors));
  return true;
}

int64_t Runtime::liveCount(int32_t id) const {
  return std::count_if(entries_.begin(), entries_.end(),
                       [&](const Entry& e) { return e.storage && e.storage->device == devices_[id].get(); });
}

std::vector<LiveTensor> Runtime::largest(int32_t id, size_t most) const {
  std::vector<LiveTensor> list;
  for (const Entry& e : entries_)
    if (e.storage && e.storage->device == devices_[id].get()) list.push_back({e.op, e.meta.text(), e.meta.bytes()});
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  if (list.size() > most) list.resize(most);
  return list;
}

}  // namespace lateforge
