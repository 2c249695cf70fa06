// Every fast kernel has a naive twin, one lane per output: a reference on the device at sizes that the CPU cannot do,
// and a way around a broken kernel. LATEFORGE_CUDA_NAIVE=attention,maxsim chooses it for these ops.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string_view>

namespace lateforge::cuda {

inline bool naive(std::string_view op) {
  const char* list = std::getenv("LATEFORGE_CUDA_NAIVE");
  for (std::string_view rest = list ? list : ""; !rest.empty();) {
    const size_t comma = rest.find(',');
    if (rest.substr(0, comma) == op) return true;
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return false;
}

}  // namespace lateforge::cuda
