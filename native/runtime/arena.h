// Best-fit allocator with coalescing over large segments of a device. Because a stream is in order, a freed block may
// be handed out again at once: whoever writes it next runs after whoever still reads it. For the same reason a segment
// goes back to the device in stream order, and nobody waits for the stream: what is issued next may use a segment made
// of the room.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "backend.h"

namespace lateforge {

class Arena {
 public:
  // Memory that is reserved and not live.
  struct Free {
    int64_t bytes, pieces, largest;
  };

  Arena(const Backend* backend, int32_t device, Stream* stream)
      : backend_(backend), device_(device), stream_(stream), limit_(backend->memoryLimit(device)) {}
  // The stream is closed.
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // 64-byte aligned. Null when the limit would be passed, when what is free below it lies in pieces that are too small,
  // or when the device has no more.
  void* allocate(int64_t bytes);
  void release(void* data);
  // Gives segments with no live block back to the device, in stream order, and says how many bytes.
  int64_t trim() { return retire(INT64_MAX); }

  int64_t live() const { return live_; }
  int64_t reserved() const { return reserved_; }
  int64_t peak() const { return peak_; }
  int64_t limit() const { return limit_; }
  Free free() const;
  void resetPeak() { peak_ = live_; }
  void setLimit(int64_t bytes) { limit_ = bytes; }

 private:
  struct Block {
    int64_t bytes;
    char* segment;  // first byte of the segment the block lies in
    bool free;
  };
  using Blocks = std::map<char*, Block>;
  // A segment on its way back: still there until the stream comes by.
  struct Retired {
    Arena* arena;
    char* segment;
    int64_t bytes;
    std::list<Retired>::iterator self;
  };

  void addFree(Blocks::iterator);
  void removeFree(Blocks::iterator);
  bool grow(int64_t bytes);
  int64_t retire(int64_t least);
  static int32_t giveBack(void* retired, const char*, char*);

  const Backend* backend_;
  int32_t device_;
  Stream* stream_;
  int64_t limit_;
  int64_t live_ = 0, reserved_ = 0, peak_ = 0;
  Blocks blocks_;                             // every block, by address
  std::set<std::pair<int64_t, char*>> free_;  // free blocks, smallest first
  std::map<char*, int64_t> segments_;         // segment → bytes
  std::mutex mutex_;
  std::list<Retired> retired_;  // under the mutex
};

}  // namespace lateforge
