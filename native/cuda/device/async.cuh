// cp.async: copies from global to shared memory that run beside the lane. They have landed when the lane has waited for
// their group; other lanes see them after a barrier that follows.
#pragma once

#include "shared.cuh"

namespace lateforge::cuda {

#ifdef __CUDACC__

// `bytes` (4, 8 or 16), both sides aligned to that; zeros instead when the source is not `valid`.
template <int bytes, class T>
LF_DEVICE void copyAsync(Shared<T> to, Dev<const T> from, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  const uint32_t target = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const int source = valid ? bytes : 0;
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(source) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(target), "l"(from), "n"(bytes), "r"(source)
                 : "memory");
}
// Closes the group of the copies issued since the last one.
LF_DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All groups but the latest `inFlight` have landed.
template <int inFlight>
LF_DEVICE void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(inFlight) : "memory");
}

#else

template <int bytes, class T>
void copyAsync(Shared<T> to, Dev<const T> from, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  struct alignas(bytes) Chunk {
    char byte[bytes];
  };
  void* target = recast<Chunk>(to).span(1);
  // A source that is not valid is not read, but its address must be aligned all the same.
  if (from.address() % bytes) host::fail("copyAsync of %d bytes from an address that is no multiple", bytes);
  host::copyAsync(target, valid ? recast<const Chunk>(from).span(1) : nullptr, bytes, valid ? bytes : 0);
}
inline void commitCopies() { host::commitCopies(); }
template <int inFlight>
void waitCopies() {
  host::waitCopies(inFlight);
}

#endif

}  // namespace lateforge::cuda
