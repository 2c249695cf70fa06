// A device that is not there: the few functions of the CUDA runtime that native/cuda/runtime calls, on a host thread
// per stream that takes its time. So the runtime's order, errors and waiting are tested on machines without a GPU.
#pragma once

#include <functional>

#include "../../../native/cuda/op.h"

namespace fake {

// Enqueues work, as a kernel launch would.
void launch(lateforge::cuda::StreamHandle stream, std::function<void()> work);
// From inside such work: an error that stays, as an illegal access would leave it.
void breakDevice();
void repairDevice();
// Calls that are not allowed while the thread that is set apart (the caller of the runtime) makes them.
void forbidWaiting(bool forbidden);
int64_t waitsThatWereForbidden();
// Everything that was allocated and not given back: pinned blocks, device blocks, events, streams.
int64_t live();
// The device that was current when the stream was made.
int deviceOf(lateforge::cuda::StreamHandle stream);
// Whether all of it lies in one block that was allocated.
bool owns(const void* data, size_t bytes);

}  // namespace fake
