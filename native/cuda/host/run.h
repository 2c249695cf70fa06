// Runs one op of the CUDA backend in the host emulation.
#pragma once

#include "../op.h"

namespace lateforge::cuda::host {

// Operands, workspace and `fault` (a Fault) are in device memory. 0, or 1 with a message of at most kErrorBytes.
int32_t runOp(const OpCall& call, void* fault, char* error);

}  // namespace lateforge::cuda::host
