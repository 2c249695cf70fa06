// What HostGroup's two files share: host_group.cc (threads, failures, records) and host_transfer.cc (who sends what).
#pragma once

#include <cstdarg>
#include <cstdio>

#include "../runtime/guard.h"
#include "host_group.h"

namespace lateforge {

[[gnu::format(printf, 1, 2)]] inline std::string format(const char* pattern, ...) {
  char text[512];
  va_list list;
  va_start(list, pattern);
  std::vsnprintf(text, sizeof text, pattern, list);
  va_end(list);
  return text;
}

// Where there is no memory for the words, it says that in words that need none.
inline void tell(std::string& target, const char* words) noexcept {
  try {
    target = words;
  } catch (const std::bad_alloc&) {
    target = "out of memory";  // short enough for the string itself
  }
}

// What a rank says before it sends: which collective, how it goes, and how much of it is for you.
struct HostGroup::Announcement {
  uint64_t sequence;
  int32_t kind;
  Route route;
  int64_t bytes;
};

struct HostGroup::Job {
  uint64_t sequence;
  Collective kind;
  DType dtype = DType::u8;
  char* in = nullptr;  // where the host finds it, or on a device with a transport
  char* out = nullptr;
  const DeviceTransport* deviceTransport = nullptr;
  Stream* stream = nullptr;
  DeviceChannel* channel = nullptr;
  char* workspace = nullptr;
  int64_t count = 0;
  std::vector<int64_t> send, receive;
  int32_t root = 0;
  std::string message;
  std::vector<std::string> messages;
  Exchanged exchanged;
  bool last = false;  // before this rank leaves
  // Under the group's mutex.
  bool ready = false, finished = false;
  std::string streamError, error;
  std::vector<int32_t> waitingFor;  // ranks, when it was given up
  double began = 0;
  int64_t sent = 0;
};

// What a call from a stream holds.
struct HostGroup::Waiting {
  HostGroup* group;
  std::shared_ptr<Job> job;
};

}  // namespace lateforge
