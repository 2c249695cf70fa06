// The part of NCCL's C interface that is used (2.14 or newer), declared here so that neither its header nor its library
// is needed to build. The values are part of its ABI; check.cc compares them with NVIDIA's header wherever there
// is one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "../../cuda/runtime/library.h"

namespace lateforge::cuda::nccl {

using Comm = struct ncclComm*;
struct Id {
  char bytes[128];
};

enum Status : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};
enum DataType : int { kBytes = 1 };

// As of 2.14; newer libraries take it and their own defaults for the rest.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
};

// LF_NCCL(F): F(result, name, arguments)
#define LF_NCCL(F)                                                        \
  F(const char*, GetErrorString, (Status))                                \
  F(const char*, GetLastError, (Comm))                                    \
  F(Status, GetVersion, (int*))                                           \
  F(Status, GetUniqueId, (Id*))                                           \
  F(Status, CommInitRankConfig, (Comm*, int size, Id, int rank, Config*)) \
  F(Status, CommFinalize, (Comm))                                         \
  F(Status, CommDestroy, (Comm))                                          \
  F(Status, CommAbort, (Comm))                                            \
  F(Status, CommGetAsyncError, (Comm, Status*))                           \
  F(Status, GroupStart, ())                                               \
  F(Status, GroupEnd, ())                                                 \
  F(Status, Send, (const void*, size_t, DataType, int, Comm, cudaStream_t)) \
  F(Status, Recv, (void*, size_t, DataType, int, Comm, cudaStream_t))

struct Api {
  LF_NCCL(LF_FUNCTION)

  template <class Visit>
  void each(const Visit& f) {
#define F(result, name, arguments) f(name, "nccl" #name);
    LF_NCCL(F)
#undef F
  }
};

}  // namespace lateforge::cuda::nccl
