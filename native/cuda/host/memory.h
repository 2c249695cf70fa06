// The host emulation's device memory. Every address it hands out is a device address (pointer.h).
#pragma once

#include <cstddef>

namespace lateforge::cuda::host {

// Filled with 0xff bytes: NaN as a number, −1 as an index. Null when there is no memory.
void* allocateDevice(size_t bytes);
void releaseDevice(void* data);
// Zeros for the life of the process, of which only the pages that are touched take memory: for huge offsets.
void* reserveDevice(size_t bytes);
// Where allocated device memory lies in fact.
void* hostAddress(void* device, size_t bytes);
// Between host memory and allocated device memory.
void writeDevice(void* device, const void* source, size_t bytes);
void readDevice(void* target, const void* device, size_t bytes);
// Fills allocated device memory with 0xff bytes.
void poisonDevice(void* device, size_t bytes);

}  // namespace lateforge::cuda::host
