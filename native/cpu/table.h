// Which kernel tables this build has, and the choice among them at run time.
#pragma once

#include "../ops/list.h"
#include "../runtime/backend.h"

namespace lateforge::cpu {

struct Kernels {
  Kernel op[kOpCount];
  int64_t (*workspace)(const OpCall& call);  // bytes the op needs
};

#define LF_DECLARE_ISA(isa)            \
  namespace isa {                      \
  template <class T>                   \
  const Kernels* kernelTable();        \
  template <>                          \
  const Kernels* kernelTable<float>(); \
  }
LF_DECLARE_ISA(portable)  // on 64-bit ARM its vectors are NEON's
namespace portable {
template <>
const Kernels* kernelTable<double>();
}
#if defined(__x86_64__)
LF_DECLARE_ISA(avx2)
LF_DECLARE_ISA(avx512)
#endif
#undef LF_DECLARE_ISA

struct Isa {
  const char* name;
  const Kernels* floats;
  const Kernels* doubles;  // portable ones; null unless built with LF_FLOAT64
  bool bfloat16;           // whether its products can round factors to bfloat16, on this processor
};

// The best instruction set this processor has, or the one named by LATEFORGE_ISA (portable, avx2, avx512). Null with a
// message when that one is unknown or missing here, when LATEFORGE_THREADS or LATEFORGE_NICE does not parse, or when
// LATEFORGE_MATMUL asks for what it cannot: nobody gets at kernels then.
const Isa* chooseIsa(char* error);

}  // namespace lateforge::cpu
