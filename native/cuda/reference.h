// Every fast kernel has a reference kernel, one lane per output: a reference on the device at sizes that the CPU cannot
// do, and a way around a broken kernel. LATEFORGE_CUDA_REFERENCE=attention,maxsim chooses it for these ops.
#pragma once

#include <string_view>

#include "../runtime/setting.h"

namespace lateforge::cuda {

inline bool useReference(std::string_view op) {
  for (std::string_view rest = setting("LATEFORGE_CUDA_REFERENCE"); !rest.empty();) {
    const size_t comma = rest.find(',');
    if (rest.substr(0, comma) == op) return true;
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return false;
}

// Whether the variable names nothing else. False with a message in `error`.
inline bool checkReference(char* error) {
  for (std::string_view rest = setting("LATEFORGE_CUDA_REFERENCE"); !rest.empty();) {
    const size_t comma = rest.find(',');
    const std::string_view op = rest.substr(0, comma);
    if (op != "attention" && op != "maxsim")
      return refuseSetting("LATEFORGE_CUDA_REFERENCE", "attention, maxsim, or both with a comma", error);
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return true;
}

}  // namespace lateforge::cuda
