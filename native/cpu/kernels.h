// Every kernel of the CPU backend: one function per op, templated on the real type. A kernel file is compiled once per
// instruction set (namespace LF_ISA) and real type (LF_SCALAR); float64 is compiled for tests only. Kernels are plain
// synchronous functions on validated operands; core allocated outputs and workspace, and they allocate nothing
// themselves (test/native/allocations.cmake). Indices into call.in and call.out
// follow native/ops/list.h.
#pragma once

#include "../ops/list.h"
#include "../runtime/backend.h"

#if !defined(LF_ISA) || !defined(LF_SCALAR)
#error "LF_ISA is the instruction set this file is compiled for (portable, avx2, avx512), LF_SCALAR is float or double"
#endif

namespace lateforge::cpu::LF_ISA::kernels {

#define OP(name, ...) \
  template <class T>  \
  int32_t name(const OpCall& call, char* error);
LF_OPS(OP)
#undef OP

#define LF_INSTANTIATE(name) template int32_t name<LF_SCALAR>(const OpCall& call, char*)

}  // namespace lateforge::cpu::LF_ISA::kernels

// Bytes of workspace, for the ops that have one: from shapes and the number of threads alone; the kernel may find
// another number of threads.
namespace lateforge::cpu::LF_ISA::needs {

#define LF_NEED_none(name)
#define LF_NEED_workspace(name) \
  template <class T>            \
  int64_t name(const OpCall& call);
#define OP(name, scratch, ...) LF_NEED_##scratch(name)
LF_OPS(OP)
#undef OP
#undef LF_NEED_none
#undef LF_NEED_workspace

#define LF_INSTANTIATE_NEED(name) template int64_t name<LF_SCALAR>(const OpCall& call)

}  // namespace lateforge::cpu::LF_ISA::needs
