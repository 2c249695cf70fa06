// Comparisons of a kernel with a reference in double.
#pragma once

#include <functional>

#include "harness.h"

namespace lateforge::testing {

inline std::mt19937 rng;

inline int64_t number(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(rng); }

template <class T>
std::vector<double> wide(const Tensor& t) {
  return std::vector<double>(t.as<T>(), t.as<T>() + t.meta.count());
}

// Largest error beyond `relative` of the reference's scale.
template <class T>
void close(const char* what, const Tensor& got, const std::vector<double>& want, double slack = 1) {
  const double eps = std::is_same_v<T, float> ? 4e-6 : 1e-12;
  double scale = 1e-3;
  for (double w : want) scale = std::max(scale, std::isfinite(w) ? std::fabs(w) : 0);
  CHECK(got.meta.count() == static_cast<int64_t>(want.size()), "%s: size", what);
  for (size_t i = 0; i < want.size(); ++i) {
    const double g = static_cast<double>(got.as<T>()[i]);
    const bool fine = g == want[i] || std::fabs(g - want[i]) <= slack * eps * scale;
    if (!fine || i + 1 == want.size()) {
      CHECK(fine, "%s (%s) [%zu of %zu]: got %.9g, want %.9g", what, std::is_same_v<T, float> ? "float" : "double", i,
            want.size(), g, want[i]);
      return;
    }
  }
}

// d Σ y·dy / dx by central differences in double, for x given as a tensor that `forward` reads.
inline std::vector<double> differences(Tensor& x, const std::vector<double>& dy,
                                       const std::function<std::vector<double>()>& forward) {
  std::vector<double> gradient;
  const double h = 1e-5;
  for (int64_t i = 0; i < x.meta.count(); ++i) {
    const double at = x.as<double>()[i];
    double side[2];
    for (int s = 0; s < 2; ++s) {
      x.as<double>()[i] = s ? at - h : at + h;
      const std::vector<double> y = forward();
      side[s] = 0;
      for (size_t k = 0; k < y.size(); ++k) side[s] += y[k] * dy[k];
    }
    x.as<double>()[i] = at;
    gradient.push_back((side[0] - side[1]) / (2 * h));
  }
  return gradient;
}

// Differences of a nearly constant row are good to about six digits.
inline void near(const char* what, const Tensor& got, const std::vector<double>& want) {
  double scale = 1e-2;
  for (double w : want) scale = std::max(scale, std::fabs(w));
  for (size_t i = 0; i < want.size(); ++i) {
    const bool fine = std::fabs(got.as<double>()[i] - want[i]) <= 1e-5 * scale;
    if (!fine || i + 1 == want.size()) {
      CHECK(fine, "%s [%zu]: got %.9g, differences %.9g", what, i, got.as<double>()[i], want[i]);
      return;
    }
  }
}

template <class T>
Tensor noise(std::initializer_list<int64_t> dims, double scale = 1) {
  return random<T>(dims, rng, scale);
}

}  // namespace lateforge::testing
