#include "memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "executor.h"
#include "pointer.h"

namespace lateforge::cuda::host {
namespace {

std::mutex mutex;
std::map<uintptr_t, size_t>& blocks() {
  static auto* all = new std::map<uintptr_t, size_t>;  // streams may end after static objects
  return *all;
}

char* hostOf(const void* device, size_t bytes) {
  return reinterpret_cast<char*>(requireLive(device, static_cast<int64_t>(bytes)) - kDeviceBit);
}

void* enlist(void* data, size_t bytes) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(data) | kDeviceBit;
  std::lock_guard lock(mutex);
  blocks()[address] = bytes;
  return reinterpret_cast<void*>(address);
}

}  // namespace

uintptr_t requireLive(const void* data, int64_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  std::lock_guard lock(mutex);
  auto it = blocks().upper_bound(address);
  if (it == blocks().begin() || (--it)->first + it->second < address + static_cast<uintptr_t>(bytes))
    fail("%p is no device memory, or %lld bytes are more than it has", data, static_cast<long long>(bytes));
  return address;
}

void* allocateDevice(size_t bytes) {
  void* data = nullptr;
  if (posix_memalign(&data, 256, bytes)) return nullptr;
  std::memset(data, 0xff, bytes);
  return enlist(data, bytes);
}

void* reserveDevice(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return data == MAP_FAILED ? nullptr : enlist(data, bytes);
}

void releaseDevice(void* device) {
  const auto address = reinterpret_cast<uintptr_t>(device);
  {
    std::lock_guard lock(mutex);
    if (blocks().erase(address) == 0) fail("%p is released, but was not allocated", device);
  }
  std::free(reinterpret_cast<void*>(address - kDeviceBit));
}

void* hostAddress(void* device, size_t bytes) { return hostOf(device, bytes); }

void writeDevice(void* device, const void* source, size_t bytes) {
  if (bytes) std::memcpy(hostOf(device, bytes), source, bytes);
}
void readDevice(void* target, const void* device, size_t bytes) {
  if (bytes) std::memcpy(target, hostOf(device, bytes), bytes);
}
void poisonDevice(void* device, size_t bytes) { std::memset(hostOf(device, bytes), 0xff, bytes); }

}  // namespace lateforge::cuda::host
