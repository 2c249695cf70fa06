// A transport without processes: this is rank 0 of 2, and rank 1 never says a word. A collective waits until its group
// is told to stop, so it is surely under way whenever an environment ends. For test/tensor/endings.test.ts.
#include <unistd.h>

#include <chrono>
#include <thread>

#include "../../native/distributed/group.h"

namespace lateforge {
namespace {

int32_t open(int32_t* rank, int32_t* size, char*) {
  *rank = 0;
  *size = 2;
  return 0;
}

int32_t exchange(const Slice*, const Slice*, bool (*stopped)(void*), void* context, uint8_t* waiting, char*) {
  while (!stopped(context)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  waiting[1] = 1;
  return 2;
}

void close() {}

void abort(int32_t code) { _exit(code); }

constexpr Transport kTransport = {kTransportAbi, "silent", open, exchange, close, abort};

}  // namespace
}  // namespace lateforge

extern "C" [[gnu::visibility("default")]] const lateforge::Transport* lateforge_transport(uint32_t abi) {
  return abi == lateforge::kTransportAbi ? &lateforge::kTransport : nullptr;
}
