// MaxSim on CUDA: what cuda.cu, mma.cu, simt.cu and backward.cu share on the host.
#pragma once

#include "../../cuda/launch.h"
#include "cuda.cuh"

namespace lateforge::cuda {

// One call of maxsim or maxsimBackward, whatever the type of its tokens.
struct MaxsimCall {
  Layout layout;
  bool clampNegatives;
  int64_t queries, documents, queryTokens, documentTokens, dim, longestQuery;
  Dev<const int64_t> qSegments, dSegments;
  PairList pairs;
  Dev<const int64_t> starts;  // where each pair's winners start; null for all pairs

  int64_t parts() const { return divideUp(longestQuery, kPart); }
};

// Rows of the smallest stacked tile, which holds whole queries up to this length.
constexpr int kStackedRows = 128;
// Whether stacked tiles are filled better than those of single queries.
inline bool worthStacking(Layout layout, int64_t queries, int64_t parts) {
  return layout == Layout::all && queries * parts > 3;
}

// Of maxsim or maxsimBackward with so many scores.
MaxsimCall callOf(const OpCall& call, Layout layout, int64_t scores);

template <class T>
MaxsimTokens<T> queriesOf(const OpCall& call, const MaxsimCall& m) {
  return {dev<const T>(call.in[0]), m.qSegments, m.queryTokens, m.queries, m.dim};
}
template <class T>
MaxsimTokens<T> documentsOf(const OpCall& call, const MaxsimCall& m) {
  return {dev<const T>(call.in[2]), m.dSegments, m.documentTokens, m.documents, m.dim};
}

// f(T()) for the type of the tokens; core lets through no other than these.
template <class F>
int32_t withTokens(DType dtype, const F& f) {
  if (dtype == DType::f16) return f(F16());
  if (dtype == DType::bf16) return f(Bf16());
  return f(float());
}

// The elements of a view if they are of this type.
template <class T>
Dev<T> devOf(const View& view, DType dtype) {
  return view.dtype == dtype ? dev<T>(view) : Dev<T>(nullptr);
}
inline ArgmaxWriter argmaxTo(const View& argmax) {
  return {devOf<uint8_t>(argmax, DType::u8), devOf<uint16_t>(argmax, DType::u16), devOf<int32_t>(argmax, DType::i32)};
}
inline ArgmaxReader argmaxFrom(const View& argmax) {
  return {devOf<const uint8_t>(argmax, DType::u8), devOf<const uint16_t>(argmax, DType::u16),
          devOf<const int32_t>(argmax, DType::i32)};
}

// The operands of maxsimBackward, for the kernel that adds to `sum`, dq or dd.
template <class T>
Gradient<T> gradientOf(const OpCall& call, const MaxsimCall& m, const View& sum) {
  return {queriesOf<T>(call, m),  documentsOf<T>(call, m),      m.pairs,        m.starts,
          argmaxFrom(call.in[5]), dev<const float>(call.in[6]), dev<float>(sum)};
}

// Scores on the tensor cores; float16 and bfloat16, dim ≤ 128 (mma.cu).
bool fitsTensorCores(const OpCall& call, const MaxsimCall& m);
int32_t maxsimOnTensorCores(const OpCall& call, Context& context, const MaxsimCall& m);

// Scores on the ordinary cores; every type and dimension (simt.cu).
bool fitsCores(const OpCall& call, const MaxsimCall& m);
int32_t maxsimOnCores(const OpCall& call, Context& context, const MaxsimCall& m);

// Gradients by owner (backward.cu).
bool fitsOwners(const OpCall& call, const MaxsimCall& m);
int32_t maxsimBackwardByOwner(const OpCall& call, Context& context, const MaxsimCall& m);

}  // namespace lateforge::cuda
