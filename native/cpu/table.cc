// The kernel tables of one instruction set.
#include "table.h"

#include "kernels.h"

namespace lateforge::cpu::LF_ISA {

#define OP(name, inputs, outputs, backward) &kernels::name<float>,
const Kernel kFloatKernels[kOpCount] = {LF_OPS(OP)};
#undef OP
#define OP(name, inputs, outputs, backward) &kernels::name<double>,
const Kernel kDoubleKernels[kOpCount] = {LF_OPS(OP)};
#undef OP

}  // namespace lateforge::cpu::LF_ISA
