// Activations and their derivatives (native/ops/pointwise/activation.h); the kind is a template argument.
#pragma once

#include "../../cuda/device/math.cuh"
#include "activation_kind.h"

namespace lateforge::cuda {

struct Slope {
  float y, slope;
};

template <Activation kind>
LF_DEVICE Slope activate(float x) {
  if constexpr (kind == Activation::gelu) {
    const float cdf = normalCdf(x), density = 0.39894228040143267794f * exponential(-0.5f * x * x);
    return {x * cdf, cdf + x * density};
  } else if constexpr (kind == Activation::geluTanh) {
    constexpr float c = 0.79788456080286535588f, k = 0.044715f;
    const float s = sigmoid(2 * c * x * (1 + k * x * x));
    return {x * s, s + x * s * (1 - s) * (2 * c) * (1 + 3 * k * x * x)};
  } else if constexpr (kind == Activation::relu) {
    // Comparing this way round lets a NaN through.
    return {x <= 0 ? 0 : x, x > 0 ? 1.0f : 0.0f};
  } else if constexpr (kind == Activation::tanh) {
    const float t = hyperbolicTangent(x);
    return {t, 1 - t * t};
  } else if constexpr (kind == Activation::sigmoid) {
    const float s = sigmoid(x);
    return {s, s * (1 - s)};
  } else {
    const float s = sigmoid(x);
    return {x * s, s + x * s * (1 - s)};
  }
}

}  // namespace lateforge::cuda
