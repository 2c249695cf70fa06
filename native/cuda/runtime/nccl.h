// GPUs reach those of other ranks by NCCL, which is opened at run time: native/distributed/nccl/link.cc.
#pragma once

#include <string>

namespace lateforge {

struct Links;

namespace cuda {

extern const Links kNcclLinks;

// "path, version", or why there is none; opens the library.
std::string describeNccl();

}  // namespace cuda
}  // namespace lateforge
