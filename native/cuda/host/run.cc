#include "run.h"

#include <stdexcept>

#include "../ops.h"
#include "executor.h"
#include "memory.h"

namespace lateforge::cuda::host {
namespace {

constexpr OpTable kOps = opTable();

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
