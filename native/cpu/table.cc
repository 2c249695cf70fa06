// The kernels of one instruction set for one real type.
#include "table.h"

#include "kernels.h"

namespace lateforge::cpu::LF_ISA {
namespace {

int64_t workspaceOf(const OpCall& call) {
  switch (call.op) {
#define OP(name)   \
  case Op::name: \
    return needs::name<LF_SCALAR>(call);
    LF_CPU_NEEDS(OP)
#undef OP
    default:
      return 0;
  }
}

}  // namespace

template <>
const Kernels* kernelTable<LF_SCALAR>() {
#define OP(name, inputs, outputs, backward) &kernels::name<LF_SCALAR>,
  static const Kernels kTable = {{LF_OPS(OP)}, workspaceOf};
#undef OP
  return &kTable;
}

}  // namespace lateforge::cpu::LF_ISA
