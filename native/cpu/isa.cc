#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "table.h"

namespace lateforge::cpu {

const Isa* chooseIsa(char* error) {
  static const Isa kIsas[] = {
      {"avx512", avx512::kFloatKernels, avx512::kDoubleKernels},
      {"avx2", avx2::kFloatKernels, avx2::kDoubleKernels},
      {"portable", portable::kFloatKernels, portable::kDoubleKernels},
  };
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  const bool present[] = {wide, fma, true};
  const char* wanted = std::getenv("LATEFORGE_ISA");
  for (int i = 0; i < 3; ++i)
    if (wanted && *wanted ? !std::strcmp(wanted, kIsas[i].name) && present[i] : present[i]) return &kIsas[i];
  std::snprintf(error, kErrorBytes, "LATEFORGE_ISA is \"%s\"; this processor has%s%s portable", wanted,
                wide ? " avx512," : "", fma ? " avx2," : "");
  return nullptr;
}

}  // namespace lateforge::cpu
