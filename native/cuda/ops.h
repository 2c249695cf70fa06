// Every op of the CUDA backend, and the real types it takes.
#pragma once

#include "op.h"

namespace lateforge::cuda {

namespace ops {
#define OP(name, ...) int32_t name(const OpCall& call, Context& context);
LF_OPS(OP)
#undef OP
}  // namespace ops

// Bytes of workspace, from shapes alone, for the ops that have one.
namespace needs {
#define LF_NEED_none(name)
#define LF_NEED_workspace(name) int64_t name(const OpCall& call);
#define OP(name, scratch, ...) LF_NEED_##scratch(name)
LF_OPS(OP)
#undef OP
#undef LF_NEED_workspace
}  // namespace needs

// The real types an op takes; none where only the CPU has it.
constexpr uint8_t typesOf(Op op) {
  switch (op) {
    case Op::packInt8:
    case Op::linearInt8:
    case Op::maxsimResidual:
    case Op::decodeResidual:
    case Op::nearest:
    case Op::nearestWithin:
      return 0;
    case Op::zero:
    case Op::copyRows:
    case Op::cast:
    case Op::assertFinite:
    case Op::gatherRows:
    case Op::scatterRows:
    case Op::divideRows:
    case Op::l2Normalize:
    case Op::l2NormalizeBackward:
    case Op::maxsim:
    case Op::maxsimStored:
    case Op::maxsimBackward:
      return kF32 | kF16 | kBf16;
    case Op::excludeAbove:
    case Op::rowStats:
    case Op::combineStats:
    case Op::contrastiveLoss:
    case Op::softmaxGrad:
    case Op::distillLoss:
    case Op::marginMse:
    case Op::sumSquares:
    case Op::adamw:
      return kF32;
    default:
      return kF32 | kBf16;
  }
}

inline int64_t workspaceOf(const OpCall& call) {
  switch (call.op) {
#define LF_NEED_workspace(name)                                \
  case Op::name:                                               \
    if constexpr (typesOf(Op::name)) return needs::name(call); \
    return 0;
#define OP(name, scratch, ...) LF_NEED_##scratch(name)
    LF_OPS(OP)
#undef OP
#undef LF_NEED_none
#undef LF_NEED_workspace
    default:
      return 0;
  }
}

struct OpTable {
  CudaOp op[kOpCount] = {};
  uint8_t supported[kOpCount] = {};
};

// By op of the op list.
constexpr OpTable opTable() {
  OpTable table;
#define OP(name, ...)                                                                \
  if constexpr (typesOf(Op::name)) table.op[static_cast<int>(Op::name)] = ops::name; \
  table.supported[static_cast<int>(Op::name)] = typesOf(Op::name);
  LF_OPS(OP)
#undef OP
  return table;
}

}  // namespace lateforge::cuda
