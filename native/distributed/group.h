// Ranks that work on one batch together: one process each. Collectives are issued from one thread, in an order that is
// the same on every rank, and take effect in the order of a device's stream.
//
// Group is what core calls. HostGroup (host_group.h) implements it over any Transport; on devices whose memory the host
// cannot address, the backend's own transport (device_transport.h) carries the data. A single process needs none.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../runtime/backend.h"
#include "device_transport.h"

namespace lateforge {

enum class Collective : int32_t { allGather, allToAll, allReduceSum, allReduceMax, broadcast, exchange };
constexpr int kCollectives = 6;

constexpr const char* nameOf(Collective c) {
  constexpr const char* kNames[kCollectives] = {"allGather",    "allToAll",  "allReduceSum",
                                                "allReduceMax", "broadcast", "exchange"};
  return kNames[static_cast<int>(c)];
}

// One collective on device memory. Counts are elements.
struct CollectiveCall {
  Collective kind;
  DType dtype;
  const void* in;
  void* out;                  // allReduce and broadcast: the same as `in`
  int64_t count;              // elements of `in`
  const int64_t* send;        // allToAll [size]: elements for each rank
  const int64_t* receive;     // allGather, allToAll [size]: elements from each rank
  int32_t root;               // broadcast
  void* workspace = nullptr;  // on the device, as Group::workspace says
  int64_t workspaceBytes = 0;
};

class Group {
 public:
  virtual ~Group() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;
  // Whether it can work on this kind of device.
  virtual bool reaches(const Backend* backend) const = 0;
  // Bytes of device memory that a collective needs beside its operands, until it is waited for.
  virtual int64_t workspace(const Backend* backend, const CollectiveCall& call) const = 0;
  // Copies `call` and its counts. The memory stays untouched by others until `wait` was issued for the ticket returned.
  virtual uint64_t start(const Backend* backend, Stream* stream, const CollectiveCall& call) = 0;
  // What is issued to the stream afterwards sees the result.
  virtual void wait(const Backend* backend, Stream* stream, uint64_t ticket) = 0;
};

// How processes reach each other: a library of its own (native/mpi), because what it is built against differs from
// machine to machine. `exchange` is called from one thread at a time, `abort` from any.
constexpr uint32_t kTransportAbi = 1;
constexpr size_t kTransportErrorBytes = 512;

struct Transport {
  uint32_t abi;
  const char* name;
  // Joins the job this process was started in; once per process. 0, or 1 with a message.
  int32_t (*open)(int32_t* rank, int32_t* size, char* error);
  // Sends send[r] to rank r and fills receive[r] from it, for every r but the own rank. Returns once all of it is done;
  // `stopped` is asked now and then, and once it says yes the exchange is given up. Parts of any size.
  // 0, 1 with a message in `error`, or 2 when stopped, with waiting[r] set to 1 for each rank it still waited for.
  int32_t (*exchange)(const Slice* send, const Slice* receive, bool (*stopped)(void*), void* context, uint8_t* waiting,
                      char* error);
  // Leaves in good order; every rank calls it.
  void (*close)();
  // Ends every process of the job, this one included, with an exit code. It does not return.
  void (*abort)(int32_t code);
};

// The one symbol a transport library exports: `lateforge_transport`. Null when the ABI differs.
using TransportEntry = const Transport* (*)(uint32_t abi);

}  // namespace lateforge
