// How devices whose memory the host cannot address reach those of other ranks: a backend's own transport, for one
// collective at a time. What is sent when, and in which order ranks are summed, is HostGroup's (host_group.h), as for
// host memory; so is everything that ranks tell each other in words.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../runtime/backend.h"

namespace lateforge {

// Bytes at an address; a message to or from one rank.
struct Slice {
  void* data;
  int64_t bytes;
};

// Asked now and then while something waits; once it says yes, that is given up.
struct Stopped {
  bool (*ask)(void* context);
  void* context;
  bool operator()() const { return ask(context); }
};

constexpr size_t kChannelIdBytes = 128;
constexpr size_t kChannelNameBytes = 64;
// Device memory that a channel lends to reductions.
constexpr int64_t kChannelScratchBytes = int64_t{32} << 20;

// A rank's end.
struct DeviceChannel;

// Called from one thread, on every rank in the same order, once all that touches the memory before has run; when they
// return, it is done. 0, or 1 with a message of at most kErrorBytes, or 2 when stopped; after 1 or 2 the channel can
// only be closed.
struct DeviceTransport {
  // What tells this device from all others, on any machine, 0-terminated.
  int32_t (*identify)(Stream*, char* name, char* error);
  // Rank 0: an id under which the ranks find each other.
  int32_t (*makeId)(uint8_t* id, char* error);
  int32_t (*open)(Stream*, const uint8_t* id, int32_t rank, int32_t size, Stopped stopped, DeviceChannel** channel,
                  char* error);
  // kChannelScratchBytes of device memory.
  void* (*scratch)(DeviceChannel*);
  // Sends send[r] to rank r and fills receive[r] from it, for every r, the own one too, unless its two parts are the
  // same. The sizes are known to agree.
  int32_t (*exchange)(DeviceChannel*, const Slice* send, const Slice* receive, Stopped stopped, char* error);
  // out[i] = the sum, or the largest, of parts[r][i] in the order of ranks; `parts` holds `count` values of each. A NaN
  // is larger than anything. float32 and float64.
  int32_t (*combine)(DeviceChannel*, bool largest, DType dtype, void* out, const void* parts, int64_t count,
                     Stopped stopped, char* error);
  // In good order, with all ranks; or at once, giving up whatever is under way, when `stopped` already says so.
  void (*close)(DeviceChannel*, Stopped stopped);
};

}  // namespace lateforge
