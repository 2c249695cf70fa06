// From a run-time kind of activation to a compile-time one, for the kernels of every backend.
#pragma once

#include <type_traits>

#include "../list.h"

namespace lateforge {

// f(std::integral_constant<Activation, kind>()), and what it returns.
template <class F>
auto withActivation(int64_t kind, const F& f) {
  switch (static_cast<Activation>(kind)) {
#define LF_CASE(name)    \
  case Activation::name: \
    return f(std::integral_constant<Activation, Activation::name>());
    LF_CASE(gelu)
    LF_CASE(geluTanh)
    LF_CASE(relu)
    LF_CASE(tanh)
    LF_CASE(sigmoid)
    LF_CASE(silu)
#undef LF_CASE
  }
  __builtin_unreachable();  // the checks (shapes.cc) let no other number pass
}

}  // namespace lateforge
