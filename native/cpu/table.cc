// The kernel tables of one instruction set.
#include "table.h"

#include "kernels.h"

namespace lateforge::cpu::LF_ISA {
namespace {

template <class T>
int64_t workspaceOf(const OpCall& call) {
  switch (call.op) {
#define OP(name)   \
  case Op::name: \
    return needs::name<T>(call);
    LF_CPU_NEEDS(OP)
#undef OP
    default:
      return 0;
  }
}

}  // namespace

#define OP(name, inputs, outputs, backward) &kernels::name<float>,
const Kernels kFloatKernels = {{LF_OPS(OP)}, workspaceOf<float>};
#undef OP
#define OP(name, inputs, outputs, backward) &kernels::name<double>,
const Kernels kDoubleKernels = {{LF_OPS(OP)}, workspaceOf<double>};
#undef OP

}  // namespace lateforge::cpu::LF_ISA
