// What one JavaScript environment owns: its devices, the table of live tensors, and the one way to run an op. Called
// from that environment's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arena.h"
#include "op.h"
#include "trace.h"

namespace lateforge {

// Index and generation of a table entry; exact in a double, so JS holds it as a plain number. 0: no tensor.
using Handle = uint64_t;

struct Device {
  Device(const Backend* backend, int32_t index, Stream* stream)
      : backend(backend), index(index), stream(stream), arena(backend, index, stream) {}
  ~Device() { close(); }
  // Nothing of this environment runs on the device any more. What was queued is dropped.
  void close() {
    if (stream) backend->closeStream(stream);
    stream = nullptr;
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Backend* backend;
  int32_t index;
  Stream* stream;
  Arena arena;
  std::shared_ptr<Trace> trace;  // null: nobody asked for one
};

// A block of memory shared by a tensor and its views: the device's, or a file's where `mapped` bytes of one lie at
// `data`.
struct Storage {
  Storage(Device* device, void* data, size_t mapped = 0) : device(device), data(data), mapped(mapped) {}
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device* device;
  void* data;
  size_t mapped;
};

struct LiveTensor {
  std::string op, meta;
  int64_t bytes;
};

class Runtime {
 public:
  // `mostTensors`: live ones, at most.
  explicit Runtime(uint64_t mostTensors = kMostTensors) : mostTensors_(mostTensors) {}
  ~Runtime() { clear(); }

  // The end of an environment, in two steps, because a group works in the memory that `clear` gives back: no stream
  // runs any more; nothing is left.
  void closeStreams();
  void clear();

  Status openDevice(const Backend* backend, int32_t index, int32_t& id);
  Device* device(int32_t id) {
    return id >= 0 && id < static_cast<int32_t>(devices_.size()) ? devices_[id].get() : nullptr;
  }

  // A tensor with the given contents (copied), or uninitialised memory when `data` is null.
  Status create(int32_t device, Meta meta, const void* data, Handle& handle);
  // A tensor whose contents are those of a file from byte `offset` on, read when they are used and never written. For
  // devices that compute in the host's memory; the caller knows which do. The file must stay as it is, but may lose its
  // name.
  Status map(int32_t device, const std::string& path, int64_t offset, Meta meta, Handle& handle);
  // Overwrites the contents in stream order; the sizes must agree.
  Status write(Handle handle, DType dtype, const void* data, int64_t count);
  // A contiguous range of elements of another tensor, sharing its memory.
  Status view(Handle handle, int64_t offset, const Meta& shape, Handle& result);
  Status run(Op op, const Handle* in, const void* params, size_t paramsBytes, Handle* out);
  Status read(Handle handle, void* target, Done done, void* context);
  Status describe(Handle handle, Meta& meta);
  // False when the handle was already disposed of.
  bool dispose(Handle handle);

  int64_t liveCount(int32_t device) const;
  std::vector<LiveTensor> largest(int32_t device, size_t most) const;

 private:
  friend class Collectives;  // native/distributed: ops on the same tensors, carried out by a group of ranks

  struct Entry {
    uint64_t generation = 1;
    std::shared_ptr<Storage> storage;  // null: a free entry
    char* data = nullptr;
    Meta meta;
    const char* op = "";
  };

  static constexpr int kIndexBits = 24;
  static constexpr uint64_t kMostTensors = (uint64_t{1} << kIndexBits) - 1;  // entry 0 is never used

  Entry* find(Handle handle);
  // Whether so many more tensors have a place; asked before anything is queued.
  Status checkRoom(const char* what, size_t more) const;
  Status resolve(const char* what, Handle handle, Entry*& entry);
  Status allocate(Device* device, int64_t bytes, const char* what, std::shared_ptr<Storage>& storage);
  Handle insert(std::shared_ptr<Storage> storage, char* data, Meta meta, const char* op);
  // Its contents changed: neither it nor what shares its memory is known to the host any more.
  void forgetFacts(Entry& entry);

  const uint64_t mostTensors_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Entry> entries_{1};  // entry 0 is never used
  std::vector<uint32_t> freeEntries_;
};

}  // namespace lateforge
