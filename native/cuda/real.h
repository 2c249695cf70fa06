// From a run-time element type to a compile-time one.
#pragma once

#include <cstdio>

#include "device/number.cuh"
#include "op.h"

namespace lateforge::cuda {

// f(T()) for the element type of real operands.
template <class F>
int32_t withReal(Context& context, DType dtype, const F& f) {
  if (dtype == DType::f32) return f(float());
  if (dtype == DType::bf16) return f(Bf16());
  std::snprintf(context.error, kErrorBytes, "%s is not supported on CUDA, expected float32 or bfloat16", nameOf(dtype));
  return 1;
}

// The same with float16, which few ops need.
template <class F>
int32_t withReal16(Context& context, DType dtype, const F& f) {
  return dtype == DType::f16 ? f(F16()) : withReal(context, dtype, f);
}

}  // namespace lateforge::cuda
