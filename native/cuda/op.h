// What an op of the CUDA backend is: a function on the host that launches kernels on a stream. Included by plain C++ as
// well as by kernels, so it knows neither the toolkit nor the host emulation.
#pragma once

#include <cstdio>

#include "../ops/list.h"
#include "../runtime/backend.h"

struct CUstream_st;

namespace lateforge::cuda {

// A cudaStream_t; the host emulation never looks at it.
using StreamHandle = CUstream_st*;

// Written by a kernel that finds its input bad; the stream reads it before it hands out results. One per stream, every
// byte set to 0xff before an op runs.
constexpr uint64_t kNoFault = ~uint64_t{0};
struct Fault {
  uint64_t first;  // the lowest element that is wrong
  float value;
};

// What a fault says, in `error` of kErrorBytes.
inline void describe(const Fault& fault, const OpCall& call, char* error) {
  std::snprintf(error, kErrorBytes, "element %llu of %lld is %g, expected finite values",
                static_cast<unsigned long long>(fault.first), static_cast<long long>(call.in[0].count()),
                static_cast<double>(fault.value));
}

// What an op gets besides its operands.
struct Context {
  StreamHandle stream;
  int64_t sharedLimit;  // dynamic shared memory a block may take, bytes
  void* fault;          // device address of a Fault
  char* error;          // of kErrorBytes
};

// Returns 0, or writes a message to context.error and returns 1.
using CudaOp = int32_t (*)(const OpCall& call, Context& context);

}  // namespace lateforge::cuda
