// Which devices there are, and why there are none. Works on a machine without a driver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace lateforge::cuda {

int32_t deviceCount();
// False, with the reason, when the device cannot be used. nvcc's files call it too: what they share with others has no
// type of the C++ library, which the package's build takes from zig and nvcc from g++.
bool usable(int32_t device, char* error);
void* allocate(int32_t device, size_t bytes);
void release(int32_t device, void* data, size_t bytes);
int64_t memoryLimit(int32_t device);
// One line per fact, "name: value": driver, devices, libraries.
std::string describe();

}  // namespace lateforge::cuda
