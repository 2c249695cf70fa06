// A rank's end of an NCCL communicator, on a CUDA stream of its own: collectives run beside the device's stream. All
// NCCL calls come from the group's thread, one collective at a time, and only once every rank has announced it, so no
// kernel of NCCL waits for a rank that is still computing.
//
// Data move by grouped ncclSend and ncclRecv alone, of bytes: any counts, and no sum that NCCL orders by itself. The
// communicator does not block, so whatever waits can be given up: by ncclCommAbort, which also ends kernels that wait.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <thread>

#include "../../cuda/runtime/library.h"
#include "../../cuda/runtime/nccl.h"
#include "../../cuda/runtime/stream.h"
#include "../device_transport.h"
#include "api.h"
#include "rank_sum.h"

namespace lateforge {
namespace {

using cuda::nccl::Status;

static_assert(sizeof(cuda::nccl::Id) == kChannelIdBytes);

struct Nccl {
  cuda::nccl::Api api;
  cuda::Library file;
  bool complete = false;
};

const Nccl& library() {
  static const Nccl* opened = [] {
    auto* n = new Nccl;
    n->file = cuda::openLibrary({"libnccl.so.2"});
    n->complete = n->file.handle != nullptr;
#define F(name, arguments) n->complete = n->complete && n->file.bind(n->api.name, "nccl" #name);
    LF_NCCL(F)
#undef F
    n->complete = n->complete && n->file.bind(n->api.GetErrorString, "ncclGetErrorString") &&
                  n->file.bind(n->api.GetLastError, "ncclGetLastError");
    return n;
  }();
  return *opened;
}

int32_t failed(char* error, const char* what, Status status, cuda::nccl::Comm comm) {
  const auto& api = library().api;
  const char* more = api.GetLastError(comm);
  std::snprintf(error, kErrorBytes, "NCCL, %s: %s%s%.300s", what, api.GetErrorString(status), more && *more ? "; " : "",
                more ? more : "");
  return 1;
}

int32_t failed(char* error, const char* what, cudaError_t status) {
  cudaGetLastError();
  std::snprintf(error, kErrorBytes, "NCCL, %s: CUDA says: %s", what, cudaGetErrorString(status));
  return 1;
}

// Between two looks: a transfer often takes microseconds, a rank that is late much longer.
class Deadlines {
 public:
  void pause() {
    if (++looks_ < 2000)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

 private:
  int looks_ = 0;
};

}  // namespace

struct DeviceChannel {
  DeviceChannel(int32_t device, int32_t rank, int32_t size) : device(device), rank(rank), size(size) {}
  ~DeviceChannel();

  int32_t open(const cuda::nccl::Id& id, Stopped stopped, char* error);
  int32_t exchange(const Slice* send, const Slice* receive, Stopped stopped, char* error);
  int32_t combine(bool largest, DType dtype, void* out, const void* parts, int64_t count, Stopped stopped, char* error);
  void close(Stopped stopped);

  const int32_t device, rank, size;
  void* scratch = nullptr;

 private:
  int32_t settle(Status status, const char* what, Stopped stopped, char* error);
  int32_t finish(const char* what, Stopped stopped, char* error);
  void abort();

  const cuda::nccl::Api& api_ = library().api;
  cuda::nccl::Comm comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

DeviceChannel::~DeviceChannel() {
  abort();
  if (stream_) cudaStreamDestroy(stream_);
  if (event_) cudaEventDestroy(event_);
  cudaFree(scratch);
  cudaGetLastError();  // of a lost device nothing can be given back
}

int32_t DeviceChannel::open(const cuda::nccl::Id& id, Stopped stopped, char* error) {
  cudaError_t code = cudaSetDevice(device);
  if (code == cudaSuccess) code = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  if (code == cudaSuccess) code = cudaEventCreateWithFlags(&event_, cudaEventDisableTiming);
  if (code == cudaSuccess) code = cudaMalloc(&scratch, static_cast<size_t>(kChannelScratchBytes));
  if (code != cudaSuccess) return failed(error, "opening", code);
  cuda::nccl::Config config;
  return settle(api_.CommInitRankConfig(&comm_, size, id, rank, &config), "opening", stopped, error);
}

int32_t DeviceChannel::exchange(const Slice* send, const Slice* receive, Stopped stopped, char* error) {
  cudaSetDevice(device);
  Status status = api_.GroupStart();
  if (status != cuda::nccl::kSuccess) return settle(status, "a group", stopped, error);
  const auto fine = [&] { return status == cuda::nccl::kSuccess || status == cuda::nccl::kInProgress; };
  for (int32_t r = 0; r < size && fine(); ++r) {
    if (r == rank && send[r].data == receive[r].data) continue;
    if (send[r].bytes)
      status = api_.Send(send[r].data, static_cast<size_t>(send[r].bytes), cuda::nccl::kBytes, r, comm_, stream_);
    if (receive[r].bytes && fine())
      status = api_.Recv(receive[r].data, static_cast<size_t>(receive[r].bytes), cuda::nccl::kBytes, r, comm_, stream_);
  }
  const Status ended = api_.GroupEnd();
  if (const int32_t failure = settle(fine() ? ended : status, "an exchange", stopped, error)) return failure;
  return finish("an exchange", stopped, error);
}

int32_t DeviceChannel::combine(bool largest, DType dtype, void* out, const void* parts, int64_t count, Stopped stopped,
                               char* error) {
  cudaSetDevice(device);
  cuda::Context context{stream_, 0, nullptr, error};
  if (cuda::combineRanks(context, largest, dtype, out, parts, count, size)) return 1;
  return finish("a sum", stopped, error);
}

void DeviceChannel::close(Stopped stopped) {
  char ignored[kErrorBytes];
  cudaSetDevice(device);
  if (!comm_ || stopped() || settle(api_.CommFinalize(comm_), "the end", stopped, ignored)) return;
  api_.CommDestroy(comm_);
  comm_ = nullptr;
}

// Until NCCL has done what it was told in the background; nothing may be enqueued behind it before.
int32_t DeviceChannel::settle(Status status, const char* what, Stopped stopped, char* error) {
  for (Deadlines deadlines; status == cuda::nccl::kInProgress; deadlines.pause()) {
    if (stopped()) {
      abort();
      return 2;
    }
    if (const Status asked = api_.CommGetAsyncError(comm_, &status); asked != cuda::nccl::kSuccess) status = asked;
  }
  if (status == cuda::nccl::kSuccess) return 0;
  failed(error, what, status, comm_);
  abort();
  return 1;
}

// Until the device has done it.
int32_t DeviceChannel::finish(const char* what, Stopped stopped, char* error) {
  if (const cudaError_t code = cudaEventRecord(event_, stream_); code != cudaSuccess) return failed(error, what, code);
  for (Deadlines deadlines;; deadlines.pause()) {
    const cudaError_t code = cudaEventQuery(event_);
    if (code == cudaSuccess) return 0;
    if (code != cudaErrorNotReady) return failed(error, what, code);
    cudaGetLastError();  // "not ready" counts as one
    Status status = cuda::nccl::kSuccess;
    if (const Status asked = api_.CommGetAsyncError(comm_, &status); asked != cuda::nccl::kSuccess) status = asked;
    if (status != cuda::nccl::kSuccess && status != cuda::nccl::kInProgress) {
      failed(error, what, status, comm_);
      abort();
      return 1;
    }
    if (stopped()) {
      abort();
      return 2;
    }
  }
}

void DeviceChannel::abort() {
  if (comm_) api_.CommAbort(comm_);
  comm_ = nullptr;
}

namespace {

int32_t identify(Stream* stream, char* name, char* error) {
  cudaDeviceProp properties;
  const cudaError_t code = cudaGetDeviceProperties(&properties, stream->device());
  if (code != cudaSuccess) return failed(error, "opening", code);
  const char* prefix = "GPU-";
  name = std::strcpy(name, prefix) + std::strlen(prefix);
  for (const char byte : properties.uuid.bytes)
    name += std::snprintf(name, 3, "%02x", static_cast<unsigned char>(byte));
  return 0;
}

int32_t makeId(uint8_t* id, char* error) {
  const Nccl& nccl = library();
  if (!nccl.complete) {
    std::snprintf(error, kErrorBytes, "NCCL is needed for several ranks: %s", nccl.file.reason.c_str());
    return 1;
  }
  cuda::nccl::Id made;
  const Status status = nccl.api.GetUniqueId(&made);
  if (status != cuda::nccl::kSuccess) return failed(error, "an id", status, nullptr);
  std::memcpy(id, made.bytes, sizeof made);
  return 0;
}

int32_t openChannel(Stream* stream, const uint8_t* id, int32_t rank, int32_t size, Stopped stopped,
                    DeviceChannel** channel, char* error) {
  const Nccl& nccl = library();
  if (!nccl.complete) {
    std::snprintf(error, kErrorBytes, "NCCL is needed for several ranks: %s", nccl.file.reason.c_str());
    return 1;
  }
  cuda::nccl::Id given;
  std::memcpy(given.bytes, id, sizeof given);
  auto* made = new (std::nothrow) DeviceChannel(stream->device(), rank, size);
  if (!made) {
    std::snprintf(error, kErrorBytes, "the host has no memory left");
    return 1;
  }
  const int32_t failure = made->open(given, stopped, error);
  if (failure)
    delete made;
  else
    *channel = made;
  return failure;
}

}  // namespace

namespace cuda {

const DeviceTransport kNcclTransport = {
    .identify = identify,
    // Only the first look for the library allocates.
    .makeId = [](uint8_t* id, char* error) { return guarded(error, [&] { return makeId(id, error); }); },
    .open =
        [](Stream* stream, const uint8_t* id, int32_t rank, int32_t size, Stopped stopped, DeviceChannel** channel,
           char* error) {
          return guarded(error, [&] { return openChannel(stream, id, rank, size, stopped, channel, error); });
        },
    .scratch = [](DeviceChannel* channel) { return channel->scratch; },
    .exchange = [](DeviceChannel* channel, const Slice* send, const Slice* receive, Stopped stopped,
                   char* error) { return channel->exchange(send, receive, stopped, error); },
    .combine = [](DeviceChannel* channel, bool largest, DType dtype, void* out, const void* parts, int64_t count,
                  Stopped stopped,
                  char* error) { return channel->combine(largest, dtype, out, parts, count, stopped, error); },
    .close =
        [](DeviceChannel* channel, Stopped stopped) {
          channel->close(stopped);
          delete channel;
        },
};

std::string describeNccl() {
  const Nccl& nccl = library();
  if (!nccl.complete) return nccl.file.reason;
  int version = 0;
  nccl.api.GetVersion(&version);
  return nccl.file.path + ", version " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
         "." + std::to_string(version % 100);
}

}  // namespace cuda
}  // namespace lateforge
