// The part of NCCL's C interface that is used (2.14 or newer), declared here so that neither its header nor its library
// is needed to build. The values are part of its ABI; nccl_check.cc compares them with NVIDIA's header wherever there
// is one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

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

// LF_NCCL(F): F(name, arguments)
#define LF_NCCL(F)                                                  \
  F(GetVersion, (int*))                                             \
  F(GetUniqueId, (Id*))                                             \
  F(CommInitRankConfig, (Comm*, int size, Id, int rank, Config*))   \
  F(CommFinalize, (Comm))                                           \
  F(CommDestroy, (Comm))                                            \
  F(CommAbort, (Comm))                                              \
  F(CommGetAsyncError, (Comm, Status*))                             \
  F(GroupStart, ())                                                 \
  F(GroupEnd, ())                                                   \
  F(Send, (const void*, size_t, DataType, int, Comm, cudaStream_t)) \
  F(Recv, (void*, size_t, DataType, int, Comm, cudaStream_t))

struct Api {
#define F(name, arguments) Status(*name) arguments = nullptr;
  LF_NCCL(F)
#undef F
  const char* (*GetErrorString)(Status) = nullptr;
  const char* (*GetLastError)(Comm) = nullptr;
};

}  // namespace lateforge::cuda::nccl
