// Ranks reach each other by MPI. Built once for each of the two binary interfaces, Open MPI's and MPICH's, and not
// linked to either: what loads this library has loaded MPI, with its symbols for all, which MPI's own plugins need too.
// Only point-to-point messages are used, so that an exchange can be given up while it waits.
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>
#include <vector>

#include "../../runtime/setting.h"
#include "../group.h"

namespace lateforge {
namespace {

// Counts are int in MPI, so a larger part is several messages. The same on every rank; LATEFORGE_MPI_MESSAGE makes it
// small in tests.
int64_t messageBytes = int64_t{1} << 30;
constexpr int kTag = 0x1F;

MPI_Comm comm = MPI_COMM_NULL;
int rank = 0, size = 1;

int32_t failed(int status, char* error) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  std::snprintf(error, kTransportErrorBytes, "%.*s", length, text);
  return 1;
}

#define LF_MPI(expression)                                                                    \
  do {                                                                                        \
    if (const int status = (expression); status != MPI_SUCCESS) return failed(status, error); \
  } while (0)

int32_t open(int32_t* ownRank, int32_t* ranks, char* error) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized) {
    std::snprintf(error, kTransportErrorBytes, "MPI is already in use in this process");
    return 1;
  }
  if (!readCount("LATEFORGE_MPI_MESSAGE", 1, messageBytes, messageBytes, error)) return 1;
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) {
    std::snprintf(error, kTransportErrorBytes, "MPI_Init_thread failed");
    return 1;
  }
  if (provided < MPI_THREAD_SERIALIZED) {
    std::snprintf(error, kTransportErrorBytes, "this MPI grants thread level %d, MPI_THREAD_SERIALIZED is needed",
                  provided);
    return 1;
  }
  LF_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &comm));
  LF_MPI(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
  LF_MPI(MPI_Comm_rank(comm, &rank));
  LF_MPI(MPI_Comm_size(comm, &size));
  *ownRank = rank;
  *ranks = size;
  return 0;
}

// MPI moves data only while it is asked, so it is asked all the time for about as long as the transfer takes; a longer
// wait is for another rank, and leaves the processor to the kernels.
class Deadlines {
 public:
  explicit Deadlines(int64_t bytes) : until_(Clock::now() + std::chrono::nanoseconds(50'000 + 2 * bytes)) {}
  void pause() {
    if (Clock::now() < until_)
      sched_yield();
    else
      usleep(++naps_ < 2000 ? 50 : 500);
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Clock::time_point until_;  // 0.5 GB/s
  int naps_ = 0;
};

int32_t exchange(const Slice* send, const Slice* receive, bool (*stopped)(void*), void* context, uint8_t* waiting,
                 char* error) try {
  const int64_t most = messageBytes;
  std::vector<MPI_Request> requests;
  std::vector<int> peers;  // of the request with the same index; sends come after all receives
  const auto each = [&](const Slice& part, int peer, const auto& post) {
    for (int64_t at = 0; at < part.bytes; at += most) {
      MPI_Request request;
      const int count = static_cast<int>(std::min(most, part.bytes - at));
      if (const int status = post(static_cast<char*>(part.data) + at, count, peer, &request); status != MPI_SUCCESS)
        return status;
      requests.push_back(request);
      peers.push_back(peer);
    }
    return static_cast<int>(MPI_SUCCESS);
  };
  // Every rank begins with another peer, so that not all talk to the same one at once.
  for (int step = 1; step < size; ++step) {
    const int peer = (rank - step + size) % size;
    LF_MPI(each(receive[peer], peer, [](void* data, int count, int from, MPI_Request* request) {
      return MPI_Irecv(data, count, MPI_BYTE, from, kTag, comm, request);
    }));
  }
  const size_t receives = requests.size();
  for (int step = 1; step < size; ++step) {
    const int peer = (rank + step) % size;
    LF_MPI(each(send[peer], peer, [](void* data, int count, int to, MPI_Request* request) {
      return MPI_Isend(data, count, MPI_BYTE, to, kTag, comm, request);
    }));
  }
  int64_t bytes = 0;
  for (int peer = 0; peer < size; ++peer)
    if (peer != rank) bytes += send[peer].bytes + receive[peer].bytes;
  Deadlines deadlines(bytes);
  for (int done = 0;;) {
    LF_MPI(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE));
    if (done) return 0;
    if (stopped(context)) break;
    deadlines.pause();
  }
  // What did not arrive yet is not wanted any more; sends are left to themselves, the process is about to end.
  for (size_t i = 0; i < requests.size(); ++i) {
    int done = 0;
    MPI_Request_get_status(requests[i], &done, MPI_STATUS_IGNORE);
    if (done) continue;
    waiting[peers[i]] = 1;
    if (i < receives) MPI_Cancel(&requests[i]);
  }
  return 2;
} catch (const std::exception& thrown) {  // no memory for the list of messages
  std::snprintf(error, kTransportErrorBytes, "%s", thrown.what());
  return 1;
}

void close() {
  MPI_Comm_free(&comm);
  MPI_Finalize();
}

// The daemon that mpirun keeps on every other host, and that is the parent of the ranks there.
bool parentIsDaemon() {
  char name[64] = "";
  std::snprintf(name, sizeof name, "/proc/%d/comm", static_cast<int>(getppid()));
  std::FILE* file = std::fopen(name, "r");
  if (!file) return false;
  const bool read = std::fgets(name, sizeof name, file) != nullptr;
  std::fclose(file);
  const auto is = [&name](const char* daemon) { return std::strcmp(name, daemon) == 0; };
  return read && (is("orted\n") || is("prted\n") || is("hydra_pmi_proxy\n"));
}

void abort(int32_t code) {
  // MPI_Abort asks the daemon of this host, which asks mpirun. With the link between them cut, nobody answers: the
  // process ends by itself then, and tells the daemon to end what else it has started here, instead of waiting for the
  // link. Where there is no daemon, mpirun sees the process end.
  try {
    std::thread([code] {
      sleep(2);
      if (parentIsDaemon()) kill(getppid(), SIGTERM);
      _exit(code);
    }).detach();
  } catch (const std::exception&) {
    _exit(code);  // no thread to wait with
  }
  MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

constexpr Transport kTransport = {kTransportAbi, "mpi", open, exchange, close, abort};

}  // namespace
}  // namespace lateforge

extern "C" [[gnu::visibility("default")]] const lateforge::Transport* lateforge_transport(uint32_t abi) {
  return abi == lateforge::kTransportAbi ? &lateforge::kTransport : nullptr;
}
