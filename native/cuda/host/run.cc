#include "run.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "../ops.h"
#include "memory.h"

namespace lateforge::cuda::host {
namespace {

constexpr OpTable kOps = opTable();

// Dynamic shared memory of a block on the device that is played: LATEFORGE_TWIN_PROFILE, sm_80, sm_86 or sm_90.
int64_t sharedLimit() {
  const char* profile = std::getenv("LATEFORGE_TWIN_PROFILE");
  if (profile && std::strcmp(profile, "sm_80") == 0) return 163 * 1024;
  if (profile && std::strcmp(profile, "sm_90") == 0) return 227 * 1024;
  return 99 * 1024;
}

// What an op leaves unwritten must not look right: outputs and workspace start as NaN.
void poisonResults(const OpCall& call) {
  for (const View& out : call.out)
    if (out.present()) poisonDevice(out.data, static_cast<size_t>(out.bytes()));
  if (call.workspaceBytes) poisonDevice(call.workspace, static_cast<size_t>(call.workspaceBytes));
}

}  // namespace

int32_t runOp(const OpCall& call, void* fault, char* error) try {
  poisonResults(call);
  Fault state;
  poisonDevice(fault, sizeof state);
  Context context{reinterpret_cast<StreamHandle>(uintptr_t{1}), sharedLimit(), fault, error};
  const CudaOp op = kOps.op[static_cast<int>(call.op)];
  if (!op) throw std::runtime_error("the CUDA backend lacks this op");
  if (op(call, context)) return 1;
  readDevice(&state, fault, sizeof state);
  if (state.first == kNoFault) return 0;
  describe(state, call, error);
  return 1;
} catch (const std::runtime_error& broken) {
  std::snprintf(error, kErrorBytes, "%s", broken.what());
  return 1;
}

}  // namespace lateforge::cuda::host
