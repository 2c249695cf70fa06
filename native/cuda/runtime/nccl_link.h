// GPUs reach those of other ranks by NCCL, which is opened at run time.
#pragma once

#include <string>

#include "../../core/link.h"

namespace lateforge::cuda {

extern const Links kNcclLinks;

// "path, version", or why there is none; opens the library.
std::string describeNccl();

}  // namespace lateforge::cuda
