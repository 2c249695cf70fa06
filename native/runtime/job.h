// What a stream's thread does for its issuer, in order.
#pragma once

#include <memory>

#include "backend.h"

namespace lateforge {

struct Job {
  enum class Kind { run, upload, download, synchronize, host, elapsed };

  Kind kind;
  OpCall call{};                   // run
  void* target = nullptr;          // upload, download; of elapsed: milliseconds, a double
  const void* source = nullptr;    // download
  std::unique_ptr<char[]> copy{};  // upload: what goes to the target
  size_t bytes = 0;
  Done done = nullptr;  // whoever waits for it
  void* context = nullptr;
  HostCall host = nullptr;
};

}  // namespace lateforge
