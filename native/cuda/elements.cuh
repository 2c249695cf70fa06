// Element-wise kernels: F is the params and `template <int n> void at(int64_t i)`, which makes elements i … i + n − 1.
#pragma once

#include "device/math.cuh"
#include "device/thread.cuh"
#include "launch.h"

namespace lateforge::cuda {

// Operands of `count` elements, or of one. A thread per `width` elements.
template <class F, int width>
struct Elements {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  F f;
  int64_t count;

  LF_DEVICE void operator()() const {
    const int64_t begin = (blockX() * kThreads + thread()) * width;
    if (begin + width <= count) return f.template at<width>(begin);
    for (int64_t i = begin; i < count; ++i) f.template at<1>(i);
  }
};

// Whether vectors of 16 bytes may be used on all of the views.
template <class... Views>
bool aligned(const Views&... views) {
  return ((reinterpret_cast<uintptr_t>(views.data) % 16 == 0) && ...);
}

// f on `count` elements, by vectors of 16 bytes of T where `vectors` says that every operand allows it.
template <class T, class F>
int32_t launchElements(Context& context, int64_t count, bool vectors, const F& f) {
  constexpr int kWidth = 16 / sizeof(T);
  if (vectors) return launch(context, {divideUp(count, 256 * kWidth)}, 0, Elements<F, kWidth>{f, count});
  return launch(context, {divideUp(count, 256)}, 0, Elements<F, 1>{f, count});
}

}  // namespace lateforge::cuda
