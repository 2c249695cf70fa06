#pragma once

#include "../runtime/backend.h"

namespace lateforge::cpu {

// float32 kernels on a queue thread.
const Backend* floatBackend();
// The same kernels in float64 on a lazy queue: what the tests hold everything else against, through the same table.
const Backend* doubleBackend();

}  // namespace lateforge::cpu
