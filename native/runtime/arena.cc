#include "arena.h"

#include <algorithm>

#include "round.h"

namespace lateforge {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kSegment = int64_t{32} << 20;
constexpr int64_t kSegmentAlign = int64_t{2} << 20;

}  // namespace

Arena::~Arena() {
  for (auto& [segment, bytes] : segments_) backend_->release(device_, segment, static_cast<size_t>(bytes));
  for (const Retired& r : retired_) backend_->release(device_, r.segment, static_cast<size_t>(r.bytes));
}

void Arena::addFree(Blocks::iterator it) {
  it->second.free = true;
  free_.emplace(it->second.bytes, it->first);
}

void Arena::removeFree(Blocks::iterator it) {
  it->second.free = false;
  free_.erase({it->second.bytes, it->first});
}

void* Arena::allocate(int64_t bytes) {
  bytes = roundUp(std::max<int64_t>(bytes, 1), kAlign);
  if (bytes > limit_ - live_) return nullptr;
  auto fit = free_.lower_bound({bytes, nullptr});
  if (fit == free_.end()) {
    if (!grow(bytes)) return nullptr;
    fit = free_.lower_bound({bytes, nullptr});
  }
  const auto it = blocks_.find(fit->second);
  removeFree(it);
  if (it->second.bytes > bytes) {
    const auto rest =
        blocks_.emplace(it->first + bytes, Block{it->second.bytes - bytes, it->second.segment, true}).first;
    it->second.bytes = bytes;
    addFree(rest);
  }
  live_ += bytes;
  peak_ = std::max(peak_, live_);
  return it->first;
}

void Arena::release(void* data) {
  auto it = blocks_.find(static_cast<char*>(data));
  live_ -= it->second.bytes;
  const auto next = std::next(it);
  if (next != blocks_.end() && next->second.free && next->second.segment == it->second.segment) {
    removeFree(next);
    it->second.bytes += next->second.bytes;
    blocks_.erase(next);
  }
  if (it != blocks_.begin()) {
    const auto previous = std::prev(it);
    if (previous->second.free && previous->second.segment == it->second.segment) {
      removeFree(previous);
      previous->second.bytes += it->second.bytes;
      blocks_.erase(it);
      it = previous;
    }
  }
  addFree(it);
}

Arena::Free Arena::free() const {
  return {reserved_ - live_, static_cast<int64_t>(free_.size()), free_.empty() ? 0 : free_.rbegin()->first};
}

// A new segment with so many free bytes. No free block is as large, so segments that are free make way where the limit
// or the device leave no room.
bool Arena::grow(int64_t bytes) {
  retire(bytes - (limit_ - reserved_));
  const int64_t room = (limit_ - reserved_) / kAlign * kAlign;
  if (bytes > room) return false;
  int64_t size = std::min(room, std::max(kSegment, roundUp(bytes, kSegmentAlign)));
  void* data = backend_->allocate(device_, static_cast<size_t>(size));
  if (!data && trim() > 0) data = backend_->allocate(device_, static_cast<size_t>(size = bytes));
  if (!data) return false;
  char* segment = static_cast<char*>(data);
  segments_[segment] = size;
  reserved_ += size;
  addFree(blocks_.emplace(segment, Block{size, segment, true}).first);
  return true;
}

// Segments without a live block, the largest first, until they make up `least`.
int64_t Arena::retire(int64_t least) {
  int64_t bytes = 0;
  for (auto it = free_.end(); bytes < least && it != free_.begin();) {
    --it;
    const auto segment = segments_.find(it->second);
    if (segment == segments_.end() || segment->second != it->first) continue;
    Retired* retired;
    {
      std::lock_guard lock(mutex_);
      retired = &retired_.emplace_front(Retired{this, it->second, it->first, {}});
      retired->self = retired_.begin();
    }
    bytes += it->first;
    reserved_ -= it->first;
    blocks_.erase(it->second);
    segments_.erase(segment);
    it = free_.erase(it);
    backend_->hostCall(stream_, giveBack, retired);
  }
  return bytes;
}

int32_t Arena::giveBack(void* context, const char*, char*) {
  auto* retired = static_cast<Retired*>(context);
  Arena* arena = retired->arena;
  arena->backend_->release(arena->device_, retired->segment, static_cast<size_t>(retired->bytes));
  std::lock_guard lock(arena->mutex_);
  arena->retired_.erase(retired->self);
  return 0;
}

}  // namespace lateforge
