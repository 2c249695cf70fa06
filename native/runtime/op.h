// What the runtime knows of an op: how its tensors are called, its params, which shapes and types it accepts, what it
// makes. Which ops there are is native/ops/list.h; specOf and infer are defined beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "status.h"

namespace lateforge {

// Facts about an integer tensor, known on the host since its upload.
struct IntFacts {
  int64_t min = 0, max = -1;
  bool increasing = true;                              // strictly
  std::shared_ptr<const std::vector<int64_t>> values;  // kept for int64 tensors (segments), which are small
  std::shared_ptr<const std::vector<int32_t>> counts;  // kept for int32 [n]
};

// Shape and type of one operand; `facts` is null for tensors computed on the device.
struct Meta {
  int32_t rank = -1;
  DType dtype = DType::f32;
  int64_t dims[kMaxRank] = {1, 1, 1, 1};
  std::shared_ptr<const IntFacts> facts;

  bool present() const { return rank >= 0; }
  int64_t count() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  int64_t bytes() const { return count() * sizeOf(dtype); }
  // Whether count and bytes, and any product of some of the dimensions, fit in 64 bits.
  bool countable() const;
  std::string text() const;  // "float32 [3, 4]"
  static Meta of(DType dtype, std::initializer_list<int64_t> dims);
};

// Rows of the longest sequence of segments that the host knows.
int64_t longest(const Meta& segments);

// An operand at an address; absent for an absent one.
View viewOf(const Meta& meta, void* data);

struct Inferred {
  Meta out[kMaxOutputs];
};

struct Operand {
  std::string name;
  bool optional = false, accumulated = false, overwritten = false;
};

struct Field {
  std::string name;
  bool integer;
};

struct OpSpec {
  const char* name;
  std::vector<Operand> inputs, outputs;
  std::vector<Field> params;
  const char* backward;  // see native/ops/list.h
};

const OpSpec& specOf(Op op);

// Checks the operands and says what the op makes. `params` points to the op's params struct.
Status infer(Op op, const void* params, const Meta* in, Inferred& result);

}  // namespace lateforge
