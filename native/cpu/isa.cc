#include <cstdio>

#include "../core/setting.h"
#include "limits.h"
#include "table.h"

namespace lateforge::cpu {

const Isa* chooseIsa(char* error) {
#ifdef LF_FLOAT64
#define LF_TABLES(isa) isa::kernelTable<float>(), isa::kernelTable<double>()
#else
#define LF_TABLES(isa) isa::kernelTable<float>(), nullptr
#endif
  static const Isa kIsas[] = {
      {"avx512", LF_TABLES(avx512)},
      {"avx2", LF_TABLES(avx2)},
      {"portable", LF_TABLES(portable)},
  };
#undef LF_TABLES
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  const bool present[] = {wide, fma, true};
  int64_t threads;
  if (!readThreads(threads, error)) return nullptr;
  const std::string_view wanted = setting("LATEFORGE_ISA");
  for (int i = 0; i < 3; ++i)
    if (present[i] && (wanted.empty() || wanted == kIsas[i].name)) return &kIsas[i];
  char expected[80];
  std::snprintf(expected, sizeof expected, "what this processor has:%s%s portable", wide ? " avx512," : "",
                fma ? " avx2," : "");
  refuseSetting("LATEFORGE_ISA", expected, error);
  return nullptr;
}

}  // namespace lateforge::cpu
