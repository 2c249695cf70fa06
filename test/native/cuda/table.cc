#include <algorithm>
#include <iterator>
#include <map>
#include <random>

#include "../../../native/cuda/host/memory.h"
#include "../../../native/cuda/host/run.h"
#include "../../../native/cuda/ops.h"
#include "../../../native/runtime/op.h"
#include "../harness.h"

namespace lateforge::testing {
namespace {

using namespace cuda::host;

// Moves the tensors of a call to device memory, and what it wrote back.
int32_t onEmulation(const OpCall& call, char* error) {
  static void* fault = allocateDevice(sizeof(cuda::Fault));
  const OpSpec& spec = specOf(call.op);
  OpCall moved = call;
  std::map<void*, void*> blocks;  // by where a tensor starts
  // A tensor may be a view that starts anywhere: in one call in four some operands do, one element into their memory.
  // Equal shapes lie equally, since the order of sums in a row may depend on it.
  std::seed_seq drawnFrom{testSeed(), static_cast<uint32_t>(call.op), static_cast<uint32_t>(call.in[0].count())};
  std::mt19937 random(drawnFrom);
  const bool odd = random() % 4 == 0;
  auto move = [&](View& view) {
    if (!view.present()) return;
    const int64_t before = odd && random() % 2 ? sizeOf(view.dtype) : 0;
    char* device = static_cast<char*>(allocateDevice(static_cast<size_t>(before + view.bytes()) + 1));
    writeDevice(device + before, view.data, static_cast<size_t>(view.bytes()));
    blocks[device + before] = device;
    view.data = device + before;
  };
  auto back = [&](const View& view, const View& device, bool wanted) {
    if (!view.present()) return;
    if (wanted) readDevice(view.data, device.data, static_cast<size_t>(view.bytes()));
    releaseDevice(blocks[device.data]);
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

const cpu::Kernels* emulationTable() {
  static const cpu::Kernels table = [] {
    cpu::Kernels all{{}, cuda::workspaceOf};
    std::fill(std::begin(all.op), std::end(all.op), onEmulation);
    return all;
  }();
  return &table;
}

}  // namespace lateforge::testing
