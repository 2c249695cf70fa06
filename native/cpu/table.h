// Which kernel tables this build has, and the choice among them at run time.
#pragma once

#include "../core/backend.h"

namespace lateforge::cpu {

#define LF_DECLARE_ISA(isa)                     \
  namespace isa {                               \
  extern const Kernel kFloatKernels[kOpCount];  \
  extern const Kernel kDoubleKernels[kOpCount]; \
  }
LF_DECLARE_ISA(portable)
LF_DECLARE_ISA(avx2)
LF_DECLARE_ISA(avx512)
#undef LF_DECLARE_ISA

struct Isa {
  const char* name;
  const Kernel* floats;
  const Kernel* doubles;
};

// The best instruction set this processor has, or the one named by LATEFORGE_ISA (portable, avx2, avx512). Null with a
// message when that one is unknown or missing here, or when LATEFORGE_THREADS does not parse: nobody gets at kernels then.
const Isa* chooseIsa(char* error);

}  // namespace lateforge::cpu
