#include <string>

#include "../runtime/setting.h"
#include "factors.h"
#include "features.h"
#include "limits.h"
#include "table.h"

namespace lateforge::cpu {

const Isa* chooseIsa(char* error) {
#ifdef LF_FLOAT64
#define LF_TABLES(isa, bfloat16) {#isa, isa::kernelTable<float>(), portable::kernelTable<double>(), bfloat16}
#else
#define LF_TABLES(isa, bfloat16)                       \
  {                                                    \
    #isa, isa::kernelTable<float>(), nullptr, bfloat16 \
  }
#endif
  struct Choice {
    Isa isa;
    bool present;
  };
  [[maybe_unused]] static const Features kHere = features();
  static const Choice kChoices[] = {
#if defined(__x86_64__)
      {LF_TABLES(avx512, kHere.bf16), kHere.avx512},
      {LF_TABLES(avx2, false), kHere.avx2},
#endif
      {LF_TABLES(portable, false), true},
  };
#undef LF_TABLES
  int64_t threads;
  Factors factors;
  if (int64_t nice; !readThreads(threads, error) || !readNice(nice, error) || !readFactors(factors, error))
    return nullptr;
  const std::string_view wanted = setting("LATEFORGE_ISA");
  std::string expected;
  for (const auto& [isa, present] : kChoices) {
    if (!present) continue;
    if (wanted.empty() || wanted == isa.name) {
      if (factors == Factors::exact || isa.bfloat16) return &isa;
      return refuseSetting("LATEFORGE_MATMUL", "float32: bfloat16 needs a processor with AVX512-BF16", error), nullptr;
    }
    expected += expected.empty() ? "what this processor has: " : ", ";
    expected += isa.name;
  }
  refuseSetting("LATEFORGE_ISA", expected.c_str(), error);
  return nullptr;
}

}  // namespace lateforge::cpu
