// attention and attentionBackward (native/ops/attention/cpu.cc): by tiles on tensor cores where the
// type allows it, else row by row.
#include <cmath>
#include <type_traits>

#include "../../cuda/elements.cuh"
#include "../../cuda/ops.h"
#include "../../cuda/real.h"
#include "../../cuda/reference.h"
#include "backward.cuh"
#include "flash.cuh"
#include "reference.cuh"

namespace lateforge::cuda {
namespace {

template <class P>
AttentionShape shapeOf(const P& p, const View& qkv, const View& segments, const View& keyLengths, const View& seeds) {
  const int64_t rows = qkv.rows(), headDim = qkv.columns() / (3 * p.heads);
  AttentionShape shape;
  shape.segments = dev<const int64_t>(segments);
  shape.keyLengths = dev<const int32_t>(keyLengths);
  shape.seeds = p.dropout > 0 ? dev<const uint32_t>(seeds) : nullptr;
  shape.sequences = segments.count() - 1;
  shape.rows = static_cast<int32_t>(rows);
  shape.heads = static_cast<int32_t>(p.heads);
  shape.headDim = static_cast<int32_t>(headDim);
  shape.window = p.window < 0 || p.window >= rows ? -1 : static_cast<int32_t>(p.window);
  shape.threshold = dropThreshold(p.dropout);
  shape.site = static_cast<uint32_t>(p.site);
  shape.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(headDim)));
  shape.keep = static_cast<float>(1 / (1 - p.dropout));
  return shape;
}

// f(std::integral_constant of how many numbers a load may take).
template <class F, class... Views>
int32_t withLoads(const AttentionShape& shape, const F& f, const Views&... views) {
  if (shape.headDim % 4 == 0 && aligned(views...)) return f(std::integral_constant<int, 4>());
  return f(std::integral_constant<int, 1>());
}

// f(std::integral_constant of the head dim, std::bool_constant of whether there is dropout) where the tensor-core
// kernels serve: 16-bit types, head dims 32 and 64, vectors of 16 bytes. `otherwise` elsewhere, and where it is asked
// for.
template <class T, class F, class Otherwise, class... Views>
int32_t withTensorCores(const AttentionShape& shape, const F& f, const Otherwise& otherwise, const Views&... views) {
  if constexpr (sizeof(T) == 2)
    if ((shape.headDim == 32 || shape.headDim == 64) && aligned(views...) && !useReference("attention")) {
      auto forDim = [&](auto d) { return shape.seeds ? f(d, std::true_type()) : f(d, std::false_type()); };
      if (shape.headDim == 32) return forDim(std::integral_constant<int, 32>());
      return forDim(std::integral_constant<int, 64>());
    }
  return otherwise();
}

Grid tileGrid(const AttentionShape& shape) { return {divideUp(shape.rows, flash::kRows) * shape.heads}; }

Grid referenceGrid(const AttentionShape& shape) {
  return {divideUp(int64_t{shape.rows} * shape.heads * divideUp(shape.headDim, reference_attention::kColumns), 128)};
}

}  // namespace

namespace ops {

int32_t attention(const OpCall& call, Context& context) {
  const View &qkv = call.in[0], &o = call.out[0], &lse = call.out[1];
  const AttentionShape shape = shapeOf(call.as<params::attention>(), qkv, call.in[1], call.in[2], call.in[3]);
  return withReal(context, qkv.dtype, [&](auto t) {
    using T = decltype(t);
    const ForwardOperands<T> x{shape, dev<const T>(qkv), dev<T>(o), dev<float>(lse)};
    auto fast = [&](auto d, auto drops) {
      using Kernel = flash::Forward<T, d(), drops()>;
      return launch(context, tileGrid(shape), Kernel::sharedBytes(), Kernel{x});
    };
    auto slow = [&] {
      auto run = [&](auto n) {
        return launch(context, referenceGrid(shape), 0, reference_attention::Forward<T, n()>{x});
      };
      return withLoads(shape, run, qkv);
    };
    return withTensorCores<T>(shape, fast, slow, qkv, o);
  });
}

int32_t attentionBackward(const OpCall& call, Context& context) {
  const View &qkv = call.in[0], &o = call.in[1], &lse = call.in[2], &dO = call.in[3], &dqkv = call.out[0];
  const AttentionShape shape = shapeOf(call.as<params::attentionBackward>(), qkv, call.in[4], call.in[5], call.in[6]);
  return withReal(context, qkv.dtype, [&](auto t) {
    using T = decltype(t);
    const BackwardOperands<T> x{shape,
                                dev<const T>(qkv),
                                dev<const T>(o),
                                dev<const T>(dO),
                                dev<const float>(lse),
                                dev<T>(dqkv),
                                workspace<float>(call, 0, 2 * lse.count())};
    auto fast = [&](auto d, auto drops) {
      using Queries = flash::BackwardQueries<T, d(), drops()>;
      using Keys = flash::BackwardKeys<T, d(), drops()>;
      if (launch(context, tileGrid(shape), Queries::sharedBytes(), Queries{x})) return 1;
      return launch(context, tileGrid(shape), Keys::sharedBytes(), Keys{x});
    };
    auto slow = [&] {
      auto run = [&](auto n) {
        if (launch(context, referenceGrid(shape), 0, reference_attention::BackwardQueries<T, n()>{x})) return 1;
        return launch(context, referenceGrid(shape), 0, reference_attention::BackwardKeys<T, n()>{x});
      };
      return withLoads(shape, run, qkv, o, dO);
    };
    return withTensorCores<T>(shape, fast, slow, qkv, o, dO, dqkv);
  });
}

}  // namespace ops

int64_t needs::attention(const OpCall&) { return 0; }

// Two numbers per row and head, which the kernel of the queries leaves for that of the keys.
int64_t needs::attentionBackward(const OpCall& call) {
  return 2 * call.in[2].count() * static_cast<int64_t>(sizeof(float));
}

}  // namespace lateforge::cuda
