// GPUs reach those of other ranks by NCCL, which is opened at run time: native/distributed/nccl/channel.cc.
#pragma once

#include <string>

namespace lateforge {

struct DeviceTransport;

namespace cuda {

extern const DeviceTransport kNcclTransport;

// "path, version", or why there is none; opens the library.
std::string describeNccl();

}  // namespace cuda
}  // namespace lateforge
