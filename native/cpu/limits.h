// The number of threads that users or the system set, and how far they step back behind others.
#pragma once

#include <cstdint>

#include "../platform/platform.h"
#include "../runtime/setting.h"

namespace lateforge::cpu {

constexpr int64_t kMostThreads = 8192;  // as many as Linux has processors

// LATEFORGE_THREADS, else what the system grants. False with a message where the variable does not parse.
inline bool readThreads(int64_t& threads, char* error) {
  threads = setting("LATEFORGE_THREADS").empty() ? platform::grantedThreads() : 1;
  return readCount("LATEFORGE_THREADS", 1, kMostThreads, threads, error);
}

constexpr int64_t kMostNice = 19;

// LATEFORGE_NICE, else 0. False as above.
inline bool readNice(int64_t& nice, char* error) {
  nice = 0;
  return readCount("LATEFORGE_NICE", 0, kMostNice, nice, error);
}

}  // namespace lateforge::cpu
