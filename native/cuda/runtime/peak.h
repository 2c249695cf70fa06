// What a device reaches when it does nothing else (../peak.cuh), for benches to compare with.
#pragma once

#include "../../runtime/backend.h"

namespace lateforge::cuda {

int32_t measurePeak(int32_t device, double seconds, Peak* result, char* error);

}  // namespace lateforge::cuda
