// Activations and their derivatives on vectors; the kind is a template argument, so that loops carry no branch.
#pragma once

#include "../../cpu/lanes.h"
#include "activation_kind.h"

namespace lateforge::cpu::LF_ISA {

// y = f(x) and, for gradients, f'(x).
template <class T>
struct Slope {
  Vec<T> y, slope;
};

// gelu: x Φ(x). geluTanh: x (1 + tanh u) / 2 = x σ(2u), u = √(2/π) (x + 0.044715 x³).
template <Activation kind, class T>
inline Slope<T> activate(Vec<T> x) {
  using V = Vec<T>;
  const V one = fill(T{1});
  if constexpr (kind == Activation::gelu) {
    const Normal<T> n = normal(x);
    return {x * n.cdf, n.cdf + x * n.density};
  } else if constexpr (kind == Activation::geluTanh) {
    constexpr T c = static_cast<T>(0.79788456080286535588), k = static_cast<T>(0.044715);
    const V s = sigmoid<T>(T{2} * c * x * (T{1} + k * x * x));
    return {x * s, s + x * s * (one - s) * (T{2} * c) * (T{1} + T{3} * k * x * x)};
  } else if constexpr (kind == Activation::relu) {
    // Comparing this way round lets a NaN through.
    return {x <= T{0} ? V{} : x, x > T{0} ? one : V{}};
  } else if constexpr (kind == Activation::tanh) {
    const V t = hyperbolicTangent(x);
    return {t, one - t * t};
  } else if constexpr (kind == Activation::sigmoid) {
    const V s = sigmoid<T>(x);
    return {s, s * (one - s)};
  } else {
    const V s = sigmoid<T>(x);
    return {x * s, s + x * s * (one - s)};
  }
}

}  // namespace lateforge::cpu::LF_ISA
