// One checking function per op (FAMILY/shapes.cc), and what they share (shapes.cc).
#pragma once

#include "../runtime/op.h"
#include "list.h"

namespace lateforge {

#define OP(name, ...) Status infer_##name(const params::name& p, const Meta* in, Inferred& result);
LF_OPS(OP)
#undef OP

inline Meta like(const Meta& m) {
  Meta result = m;
  result.facts = nullptr;
  return result;
}

// What carries the gradient of a parameter, or of a tensor that the losses see.
inline Meta gradientOf(const Meta& m) {
  Meta g = like(m);
  g.dtype = accumulatorOf(m.dtype);
  return g;
}

// Checks used by several ops; `what` is "op: operand".
Status checkReal(const char* what, const Meta& m, int rank);
Status checkSame(const char* what, const Meta& m, const Meta& expected);
// Int32 indices, known to the host, all in [0, bound).
Status checkIndices(const char* what, const Meta& m, int64_t bound);
// Offsets [n+1] that start at 0, never fall and end at `rows`.
Status checkSegments(const char* what, const Meta& m, int64_t rows);
// The same, wherever they end: `count` sequences.
Status checkSequences(const char* what, const Meta& m, int64_t count);
// A parameter's gradient, or none.
Status checkGradient(const char* what, const Meta& gradient, const Meta& parameter);

}  // namespace lateforge
