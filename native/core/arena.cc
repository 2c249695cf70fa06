#include "arena.h"

#include <algorithm>
#include <vector>

namespace lateforge {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kSegment = int64_t{32} << 20;
constexpr int64_t kSegmentAlign = int64_t{2} << 20;

int64_t roundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace

Arena::~Arena() {
  for (auto& [segment, bytes] : segments_) backend_->release(device_, segment, static_cast<size_t>(bytes));
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
  if (live_ + bytes > limit_) return nullptr;
  auto fit = free_.lower_bound({bytes, nullptr});
  if (fit == free_.end()) {
    const int64_t segmentBytes = std::max(kSegment, roundUp(bytes, kSegmentAlign));
    if (reserved_ + segmentBytes > std::max(limit_, kSegment)) return nullptr;
    char* segment = static_cast<char*>(backend_->allocate(device_, static_cast<size_t>(segmentBytes)));
    if (!segment) return nullptr;
    segments_[segment] = segmentBytes;
    reserved_ += segmentBytes;
    addFree(blocks_.emplace(segment, Block{segmentBytes, segment, true}).first);
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

void Arena::trim() {
  std::vector<char*> empty;
  for (auto& [segment, bytes] : segments_) {
    const auto it = blocks_.find(segment);
    if (it->second.free && it->second.bytes == bytes) empty.push_back(segment);
  }
  for (char* segment : empty) {
    const int64_t bytes = segments_[segment];
    removeFree(blocks_.find(segment));
    blocks_.erase(segment);
    segments_.erase(segment);
    reserved_ -= bytes;
    backend_->release(device_, segment, static_cast<size_t>(bytes));
  }
}

}  // namespace lateforge
