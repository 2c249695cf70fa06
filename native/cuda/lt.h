// The part of cuBLASLt's C interface that is used, declared here so that neither its headers nor its library are needed
// to build. The values are part of its ABI; lt_check.cc compares them with NVIDIA's header wherever there is one.
#pragma once

#include <cuda_runtime_api.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>

namespace lateforge::cuda::lt {

using Handle = struct cublasLtContext*;
using Desc = struct DescOpaque*;
using Layout = struct LayoutOpaque*;
using Preference = struct PreferenceOpaque*;
using Status = int;  // 0: success

struct Algo {
  uint64_t data[8];
};
struct Heuristic {
  Algo algo;
  size_t workspaceBytes;
  Status state;
  float wavesCount;
  int reserved[4];
};

enum ComputeType { kCompute32F = 68 };
enum Operation : int32_t { kNone = 0, kTranspose = 1 };
enum DescAttribute { kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8, kDescBiasType = 26 };
enum Epilogue : uint32_t { kEpilogueDefault = 1, kEpilogueBias = 4 };
enum Reduction : uint32_t { kReductionNone = 0, kReductionComputeType = 2 };
enum PreferenceAttribute {
  kPreferenceWorkspace = 1,
  kPreferenceReductions = 3,
  kPreferenceAlignmentA = 5,
  kPreferenceAlignmentB = 6,
  kPreferenceAlignmentC = 7,
  kPreferenceAlignmentD = 8,
};

// LF_LT(F): F(name, arguments)
#define LF_LT(F)                                                                                                     \
  F(Create, (Handle*))                                                                                               \
  F(Destroy, (Handle))                                                                                               \
  F(MatmulDescCreate, (Desc*, ComputeType, cudaDataType_t))                                                          \
  F(MatmulDescDestroy, (Desc))                                                                                       \
  F(MatmulDescSetAttribute, (Desc, DescAttribute, const void*, size_t))                                              \
  F(MatrixLayoutCreate, (Layout*, cudaDataType_t, uint64_t, uint64_t, int64_t))                                      \
  F(MatrixLayoutDestroy, (Layout))                                                                                   \
  F(MatmulPreferenceCreate, (Preference*))                                                                           \
  F(MatmulPreferenceDestroy, (Preference))                                                                           \
  F(MatmulPreferenceSetAttribute, (Preference, PreferenceAttribute, const void*, size_t))                            \
  F(MatmulAlgoGetHeuristic, (Handle, Desc, Layout, Layout, Layout, Layout, Preference, int, Heuristic*, int*))       \
  F(MatmulAlgoCheck, (Handle, Desc, Layout, Layout, Layout, Layout, const Algo*, Heuristic*))                        \
  F(Matmul,                                                                                                          \
    (Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, const void* c, \
     Layout, void* d, Layout, const Algo*, void* workspace, size_t workspaceBytes, cudaStream_t))

struct Api {
#define F(name, arguments) Status(*name) arguments = nullptr;
  LF_LT(F)
#undef F
  size_t (*GetVersion)() = nullptr;
  const char* (*GetStatusString)(Status) = nullptr;
};

}  // namespace lateforge::cuda::lt
