// What device/ needs of the host emulation: where a lane is, and how lanes meet. Every lane of a block is a fiber on
// the thread of the stream; the order they run in, whether two blocks run at once and when asynchronous copies land are
// drawn from a seed, so that a kernel that relies on any of it gives other results, or fails here.
#pragma once

#include <cstdint>
#include <source_location>

namespace lateforge::cuda {

using Site = std::source_location;

namespace host {

struct Position {
  int thread, threads;
  int64_t block[3], grid[3];
};
// Fails outside a kernel.
const Position& here();

// All 32 lanes of a warp, or all lanes of a block, arrive at the same call site. The last one to arrive runs
// `resolve` on the 32 arguments (null for a block), which live on the stacks of their lanes; then all go on.
using Resolve = void (*)(void* const* lanes);
void meetWarp(const Site& site, const char* what, void* argument, Resolve resolve);
void meetBlock(const Site& site);

// The dynamic shared memory of the running block: 128-byte aligned, filled with NaN at the start.
uintptr_t sharedBase();
int64_t sharedBytes();

// cp.async of the running lane. Nothing may be in flight when a kernel ends.
void copyAsync(void* target, const void* source, int bytes, int validBytes);
void commitCopies();
void waitCopies(int groupsInFlight);

// A phase of ldmatrix reads eight rows of 16 bytes; each further row in the same banks costs another pass.
void countConflicts(const uintptr_t* addresses);

}  // namespace host
}  // namespace lateforge::cuda
