#include <array>

#include "../../../native/core/ops.h"
#include "../../../native/cuda/host/memory.h"
#include "../../../native/cuda/host/run.h"
#include "../harness.h"

namespace lateforge::testing {
namespace {

using namespace cuda::host;

// Moves the tensors of a call to device memory, and what it wrote back.
int32_t onTwin(const OpCall& call, char* error) {
  static void* fault = allocateDevice(sizeof(cuda::Fault));
  const OpSpec& spec = specOf(call.op);
  OpCall moved = call;
  auto move = [](View& view) {
    if (!view.present()) return;
    void* device = allocateDevice(static_cast<size_t>(view.bytes()) + 1);
    writeDevice(device, view.data, static_cast<size_t>(view.bytes()));
    view.data = device;
  };
  auto back = [](const View& view, const View& device, bool wanted) {
    if (!view.present()) return;
    if (wanted) readDevice(view.data, device.data, static_cast<size_t>(view.bytes()));
    releaseDevice(device.data);
  };
  for (View& view : moved.in) move(view);
  for (View& view : moved.out) move(view);
  if (call.workspaceBytes) moved.workspace = allocateDevice(static_cast<size_t>(call.workspaceBytes));
  const int32_t failed = runOp(moved, fault, error);
  for (size_t i = 0; i < spec.inputs.size(); ++i)
    back(call.in[i], moved.in[i], spec.inputs[i].accumulated || spec.inputs[i].overwritten);
  for (size_t i = 0; i < spec.outputs.size(); ++i) back(call.out[i], moved.out[i], true);
  if (call.workspaceBytes) releaseDevice(moved.workspace);
  return failed;
}

}  // namespace

const Kernel* twinTable() {
  static const auto table = [] {
    std::array<Kernel, kOpCount> all;
    all.fill(onTwin);
    return all;
  }();
  return table.data();
}

}  // namespace lateforge::testing
