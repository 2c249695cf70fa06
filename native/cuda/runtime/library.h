// Libraries of CUDA that are opened at run time, so that one build serves machines with and without them.
#pragma once

#include <string>

namespace lateforge::cuda {

struct Library {
  void* handle = nullptr;
  std::string path;    // the file that was opened
  std::string reason;  // or why there is none

  template <class F>
  bool bind(F*& function, const char* name) {
    function = handle ? reinterpret_cast<F*>(symbol(name)) : nullptr;
    if (!function && reason.empty()) reason = path + " has no " + name;
    return function;
  }

 private:
  void* symbol(const char* name) const;
};

// The first of `names` (most wanted first) found in LATEFORGE_CUDA_LIB_PATH, on the loader's path, in CUDA_HOME,
// CUDA_PATH or /usr/local/cuda. Never closed.
Library openLibrary(std::initializer_list<const char*> names);

}  // namespace lateforge::cuda
