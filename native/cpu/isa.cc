#include <string>

#include "../runtime/setting.h"
#include "features.h"
#include "limits.h"
#include "table.h"

namespace lateforge::cpu {

const Isa* chooseIsa(char* error) {
#ifdef LF_FLOAT64
#define LF_TABLES(isa) {#isa, isa::kernelTable<float>(), portable::kernelTable<double>()}
#else
#define LF_TABLES(isa)                       \
  {                                          \
    #isa, isa::kernelTable<float>(), nullptr \
  }
#endif
  struct Choice {
    Isa isa;
    bool present;
  };
  [[maybe_unused]] static const Features kHere = features();
  static const Choice kChoices[] = {
#if defined(__x86_64__)
      {LF_TABLES(avx512), kHere.avx512},
      {LF_TABLES(avx2), kHere.avx2},
#endif
      {LF_TABLES(portable), true},
  };
#undef LF_TABLES
  int64_t threads;
  if (int64_t nice; !readThreads(threads, error) || !readNice(nice, error)) return nullptr;
  const std::string_view wanted = setting("LATEFORGE_ISA");
  std::string expected;
  for (const auto& [isa, present] : kChoices) {
    if (!present) continue;
    if (wanted.empty() || wanted == isa.name) return &isa;
    expected += expected.empty() ? "what this processor has: " : ", ";
    expected += isa.name;
  }
  refuseSetting("LATEFORGE_ISA", expected.c_str(), error);
  return nullptr;
}

}  // namespace lateforge::cpu
