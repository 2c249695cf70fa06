// Runs a kernel on the host: its blocks one after the other (or two at once), every lane a fiber.
#pragma once

#include <cstdint>

namespace lateforge::cuda::host {

struct Shape {
  int64_t grid[3];
  int threads;
  int64_t sharedBytes;
};

// False, with a message of at most kErrorBytes, when a lane broke a rule.
[[nodiscard]] bool execute(const Shape& shape, void (*body)(const void* kernel), const void* kernel, char* error);

// What the orders are drawn from. 0: threads, warps and blocks in their natural order, one block at a time, copies land
// when they are waited for. Any other number: everything is drawn, anew for every launch. Per thread; at first
// LATEFORGE_EMULATION_SEED, or 1.
void setSeed(uint64_t seed);

// Dynamic shared memory of a block, in bytes, on the device that is played: LATEFORGE_EMULATION_PROFILE, sm_80, sm_86
// (the least, so the default) or sm_90. Fails for any other.
int64_t sharedLimit();

// Whether these two variables hold what they may. False with a message of at most kErrorBytes.
bool checkSettings(char* error);

// Passes that ldmatrix would have made beyond the first since the last call, because rows lay in the same banks.
int64_t takeConflicts();

// The device address of memory that is allocated; fails when it is not.
uintptr_t requireLive(const void* data, int64_t bytes);

}  // namespace lateforge::cuda::host
