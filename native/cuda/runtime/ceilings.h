// What a device reaches when it does nothing else (../ceilings.cuh), for benches to compare with.
#pragma once

#include "../../runtime/backend.h"

namespace lateforge::cuda {

int32_t measureCeilings(int32_t device, double seconds, Ceilings* result, char* error);

}  // namespace lateforge::cuda
