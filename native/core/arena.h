// Best-fit allocator with coalescing over large segments of a device. Because a stream is in order, a freed block may
// be handed out again at once: whoever writes it next runs after whoever still reads it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "backend.h"

namespace lateforge {

class Arena {
 public:
  Arena(const Backend* backend, int32_t device)
      : backend_(backend), device_(device), limit_(backend->memoryLimit(device)) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Null when the limit would be passed or the device has no more; the caller may `trim` behind a synchronize and
  // retry.
  void* allocate(int64_t bytes);
  void release(void* data);
  // Gives segments with no live block back to the device. Only safe when the stream is idle.
  void trim();

  int64_t live() const { return live_; }
  int64_t reserved() const { return reserved_; }
  int64_t peak() const { return peak_; }
  int64_t limit() const { return limit_; }
  void resetPeak() { peak_ = live_; }
  void setLimit(int64_t bytes) { limit_ = bytes; }

 private:
  struct Block {
    int64_t bytes;
    char* segment;  // first byte of the segment the block lies in
    bool free;
  };
  using Blocks = std::map<char*, Block>;

  void addFree(Blocks::iterator);
  void removeFree(Blocks::iterator);

  const Backend* backend_;
  int32_t device_;
  int64_t limit_;
  int64_t live_ = 0, reserved_ = 0, peak_ = 0;
  Blocks blocks_;                             // every block, by address
  std::set<std::pair<int64_t, char*>> free_;  // free blocks, smallest first
  std::map<char*, int64_t> segments_;         // segment → bytes
};

}  // namespace lateforge
