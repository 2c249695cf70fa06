// What macOS has of its own. Built, never run.
#include <stdio.h>
#include <sys/sysctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "platform.h"

namespace lateforge::platform {

int grantedThreads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

int64_t grantedMemory() {
  int64_t bytes = 0;
  size_t size = sizeof bytes;
  return sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0 ? bytes : 0;
}

bool setNice(int nice, std::string& problem) {
  if (nice == 0) return true;
  problem = "macOS gives nice values to processes, not to threads";
  return false;
}

bool exchangePaths(const std::string& a, const std::string& b, std::string& problem) {
  if (renamex_np(a.c_str(), b.c_str(), RENAME_SWAP) == 0) return true;
  if (errno != EINVAL && errno != ENOTSUP) problem = std::strerror(errno);
  return false;
}

}  // namespace lateforge::platform
