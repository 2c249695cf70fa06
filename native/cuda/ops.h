// Which ops the CUDA backend has, by file; an op that is not named here throws ERR_UNSUPPORTED. Real operands
// are float32 or bfloat16 (real.h).
#pragma once

#include "op.h"

// clang-format off
#define LF_CUDA_OPS(OP) \
  /* linear.cu */ \
  OP(linear) OP(linearBackward) \
  /* pointwise.cu */ \
  OP(zero) OP(copyRows) OP(add) OP(addInto) OP(scale) OP(activation) OP(activationBackward) \
  OP(geglu) OP(gegluBackward) OP(dropout) OP(assertFinite) OP(cast) \
  /* loss.cu */ \
  OP(rowStats) OP(combineStats) OP(contrastiveLoss) OP(softmaxGrad) OP(distillLoss) OP(marginMse) \
  /* attention.cu */ \
  OP(attention) OP(attentionBackward) \
  /* rows.cu */ \
  OP(gatherRows) OP(scatterRows) OP(poolRows) OP(poolRowsBackward) OP(embedding) OP(embeddingBackward) \
  /* norm.cu */ \
  OP(layerNorm) OP(layerNormBackward) OP(l2Normalize) OP(l2NormalizeBackward) \
  /* rope.cu, optim.cu */ \
  OP(rope) OP(sumSquares) OP(adamw)
// clang-format on

namespace lateforge::cuda {

namespace ops {
#define OP(name) int32_t name(const OpCall& call, Context& context);
LF_CUDA_OPS(OP)
#undef OP
}  // namespace ops

struct OpTable {
  CudaOp op[kOpCount] = {};
  uint8_t supported[kOpCount] = {};
};

// By op of the op list; null and 0 where the backend lacks it.
constexpr OpTable opTable() {
  OpTable table;
#define OP(name)                                    \
  table.op[static_cast<int>(Op::name)] = ops::name; \
  table.supported[static_cast<int>(Op::name)] = 1;
  LF_CUDA_OPS(OP)
#undef OP
  return table;
}

}  // namespace lateforge::cuda
