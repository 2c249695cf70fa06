// Which ops the CUDA backend has, by file; an op that is not named here throws ERR_UNSUPPORTED.
#pragma once

#include "op.h"

// clang-format off
#define LF_CUDA_OPS(OP) \
  /* linear.cu */ \
  OP(linear) OP(linearBackward) \
  /* pointwise.cu */ \
  OP(zero) OP(copyRows) OP(add) OP(addInto) OP(scale) OP(rescale) OP(activation) OP(activationBackward) \
  OP(geglu) OP(gegluBackward) OP(dropout) OP(assertFinite) OP(cast) \
  /* loss.cu */ \
  OP(rowStats) OP(combineStats) OP(contrastiveLoss) OP(softmaxGrad) OP(distillLoss) OP(marginMse) \
  /* attention.cu */ \
  OP(attention) OP(attentionBackward) \
  /* maxsim.cu */ \
  OP(maxsim) OP(maxsimBackward) \
  /* rows.cu */ \
  OP(gatherRows) OP(scatterRows) OP(poolRows) OP(poolRowsBackward) OP(embedding) OP(embeddingBackward) \
  /* norm.cu */ \
  OP(layerNorm) OP(layerNormBackward) OP(l2Normalize) OP(l2NormalizeBackward) \
  /* rope.cu, optim.cu */ \
  OP(rope) OP(sumSquares) OP(adamw)

// Ops whose kernels need memory between launches.
#define LF_CUDA_NEEDS(OP) \
  OP(linearBackward) OP(layerNormBackward) OP(attentionBackward) OP(maxsim) OP(maxsimBackward) OP(softmaxGrad) \
  OP(distillLoss) OP(marginMse) OP(sumSquares)
// clang-format on

namespace lateforge::cuda {

namespace ops {
#define OP(name) int32_t name(const OpCall& call, Context& context);
LF_CUDA_OPS(OP)
#undef OP
}  // namespace ops

// Bytes of workspace, from shapes alone.
namespace needs {
#define OP(name) int64_t name(const OpCall& call);
LF_CUDA_NEEDS(OP)
#undef OP
}  // namespace needs

inline int64_t workspaceOf(const OpCall& call) {
  switch (call.op) {
#define OP(name) \
  case Op::name: \
    return needs::name(call);
    LF_CUDA_NEEDS(OP)
#undef OP
    default:
      return 0;
  }
}

// The real types an op takes.
constexpr uint8_t typesOf(Op op) {
  switch (op) {
    case Op::zero:
    case Op::copyRows:
    case Op::cast:
    case Op::assertFinite:
    case Op::gatherRows:
    case Op::scatterRows:
    case Op::l2Normalize:
    case Op::l2NormalizeBackward:
    case Op::maxsim:
    case Op::maxsimBackward:
      return kF32 | kF16 | kBf16;
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

struct OpTable {
  CudaOp op[kOpCount] = {};
  uint8_t supported[kOpCount] = {};
};

// By op of the op list; null and 0 where the backend lacks it.
constexpr OpTable opTable() {
  OpTable table;
#define OP(name)                                    \
  table.op[static_cast<int>(Op::name)] = ops::name; \
  table.supported[static_cast<int>(Op::name)] = typesOf(Op::name);
  LF_CUDA_OPS(OP)
#undef OP
  return table;
}

}  // namespace lateforge::cuda
