#include "devices.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <link.h>

#include <cstdio>

#include "../../runtime/setting.h"
#include "../gemm_lt.h"
#include "nccl.h"

namespace lateforge::cuda {
namespace {

constexpr int kOldestCapability = 80;

std::string version(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

// The newest CUDA the driver serves, as 13000; 0: no driver.
int driverVersion() {
  int v = 0;
  if (cudaDriverGetVersion(&v) != cudaSuccess) v = 0;
  cudaGetLastError();
  return v;
}

struct Count {
  int32_t devices = 0;
  std::string reason;
};

const Count& count() {
  static const Count found = [] {
    Count c;
    const cudaError_t code = cudaGetDeviceCount(&c.devices);
    cudaGetLastError();
    if (code == cudaSuccess && c.devices > 0) return c;
    c.devices = 0;
    const int driver = driverVersion();
    if (driver == 0)
      c.reason = "no NVIDIA driver (libcuda.so.1) was found";
    else if (driver / 1000 < CUDART_VERSION / 1000)
      c.reason = "the driver is too old: it serves CUDA " + version(driver) + ", this build needs " +
                 version(CUDART_VERSION / 1000 * 1000);
    else if (code == cudaSuccess || code == cudaErrorNoDevice)
      c.reason = "the driver shows no device (CUDA_VISIBLE_DEVICES may hide it)";
    else
      c.reason = cudaGetErrorString(code);
    return c;
  }();
  return found;
}

int attribute(cudaDeviceAttr name, int32_t device) {
  int value = 0;
  cudaDeviceGetAttribute(&value, name, device);
  return value;
}

int capability(int32_t device) {
  return attribute(cudaDevAttrComputeCapabilityMajor, device) * 10 +
         attribute(cudaDevAttrComputeCapabilityMinor, device);
}

std::string driverFile() {
  void* handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  link_map* map = nullptr;
  if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) return "none";
  return map->l_name;
}

std::string whyNot(int32_t device) {
  if (count().devices == 0) return count().reason;
  if (device < 0 || device >= count().devices)
    return "there are " + std::to_string(count().devices) + " devices, counted from 0";
  if (const int c = capability(device); c < kOldestCapability)
    return "compute capability " + std::to_string(c / 10) + "." + std::to_string(c % 10) + ", 8.0 or newer is needed";
  return "";
}

}  // namespace

int32_t deviceCount() { return count().devices; }

bool usable(int32_t device, char* error) {
  const std::string reason = whyNot(device);
  if (!reason.empty()) std::snprintf(error, kErrorBytes, "%s", reason.c_str());
  return reason.empty();
}

void* allocate(int32_t device, size_t bytes) {
  void* data = nullptr;
  if (cudaSetDevice(device) == cudaSuccess && cudaMalloc(&data, bytes) == cudaSuccess) return data;
  cudaGetLastError();
  return nullptr;
}

void release(int32_t device, void* data, size_t) {
  cudaSetDevice(device);
  cudaDeviceSynchronize();  // ops issued before may still use it
  cudaFree(data);
  cudaGetLastError();  // of a lost device nothing can be given back
}

// Nine tenths of what is free now: the rest is for cuBLASLt, NCCL and whoever else is on the device.
int64_t memoryLimit(int32_t device) {
  int64_t limit = 0;
  char error[kErrorBytes];
  if (readMemoryLimit(limit, error) && limit > 0) return limit;  // openStream has refused what does not parse
  size_t free = 0, total = 0;
  cudaSetDevice(device);
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  return static_cast<int64_t>(free) / 10 * 9;
}

std::string describe() {
  const int driver = driverVersion();
  std::string text = "built for: CUDA " + version(CUDART_VERSION) + ", " LF_CUDA_ARCHITECTURES "\n";
  text += "driver: " + (driver ? driverFile() + ", serves CUDA " + version(driver) : std::string("none")) + "\n";
  text += "devices: " + std::to_string(deviceCount());
  if (deviceCount() == 0) text += " (" + count().reason + ")";
  for (int32_t d = 0; d < deviceCount(); ++d) {
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, d) != cudaSuccess) continue;
    char line[384];
    std::snprintf(line, sizeof line, "\ndevice %d: %s, compute capability %d.%d, %d multiprocessors, %.1f GiB", d,
                  p.name, p.major, p.minor, p.multiProcessorCount, static_cast<double>(p.totalGlobalMem) / (1 << 30));
    text += line;
  }
  return text + "\ncuBLASLt: " + describeLt() + "\nNCCL: " + describeNccl();
}

}  // namespace lateforge::cuda
