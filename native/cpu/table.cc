// The kernels of one instruction set for one real type.
#include "table.h"

#include "kernels.h"

namespace lateforge::cpu::LF_ISA {
namespace {

int64_t workspaceOf(const OpCall& call) {
  switch (call.op) {
#define LF_NEED_none(name)
#define LF_NEED_workspace(name) \
  case Op::name:                \
    return needs::name<LF_SCALAR>(call);
#define OP(name, scratch, ...) LF_NEED_##scratch(name)
    LF_OPS(OP)
#undef OP
#undef LF_NEED_none
#undef LF_NEED_workspace
    default:
      return 0;
  }
}

}  // namespace

template <>
const Kernels* kernelTable<LF_SCALAR>() {
#define OP(name, ...) &kernels::name<LF_SCALAR>,
  static const Kernels kTable = {{LF_OPS(OP)}, workspaceOf};
#undef OP
  return &kTable;
}

}  // namespace lateforge::cpu::LF_ISA
