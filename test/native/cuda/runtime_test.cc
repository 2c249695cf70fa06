// The CUDA stream (native/cuda/runtime/stream.cc) on a device that is not there.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../../native/cuda/gemm_lt.h"
#include "../../../native/cuda/runtime/stream.h"
#include "../../../native/ops/list.h"
#include "fake_cudart.h"

namespace lateforge::cuda {
void closeGemm(StreamHandle) {}  // no products here
}  // namespace lateforge::cuda

namespace lateforge {
namespace {

std::atomic<int> failures{0}, checks{0};  // also of threads that answer

#define CHECK(condition)                                              \
  do {                                                                \
    ++checks;                                                         \
    if (!(condition)) {                                               \
      ++failures;                                                     \
      std::printf("FAIL %s:%d %s\n", __FILE__, __LINE__, #condition); \
    }                                                                 \
  } while (0)

// `add` on int64 vectors of one element: y = a + b. `scale` cannot be launched. `zero` breaks the device.
int32_t add(const OpCall& call, cuda::Context& context) {
  if (cudaGetLastError() != cudaSuccess) {  // as launch() does
    std::snprintf(context.error, kErrorBytes, "an earlier error was left behind");
    return 1;
  }
  fake::launch(context.stream,
               [=] { *call.out[0].as<int64_t>() = *call.in[0].as<int64_t>() + *call.in[1].as<int64_t>(); });
  return 0;
}
int32_t refuse(const OpCall&, cuda::Context& context) {
  std::snprintf(context.error, kErrorBytes, "no such grid");
  return 1;
}
int32_t crash(const OpCall&, cuda::Context& context) {
  fake::launch(context.stream, fake::breakDevice);
  return 0;
}
int32_t findFault(const OpCall& call, cuda::Context& context) {
  auto* fault = static_cast<cuda::Fault*>(context.fault);
  fake::launch(context.stream, [=] {
    if (*call.in[0].as<int64_t>() < 0) *fault = {3, -5};
  });
  return 0;
}

int32_t runOut(const OpCall&, cuda::Context&) { throw std::bad_alloc(); }

struct Table {
  cuda::CudaOp op[kOpCount] = {};
  Table() {
    op[static_cast<int>(Op::add)] = add;
    op[static_cast<int>(Op::scale)] = refuse;
    op[static_cast<int>(Op::zero)] = crash;
    op[static_cast<int>(Op::linear)] = runOut;
    op[static_cast<int>(Op::assertFinite)] = findFault;
  }
};
const Table kTable;

// Somebody who waits for an answer.
struct Answer {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::string error;
  static void tell(void* context, const char* error) {
    auto* self = static_cast<Answer*>(context);
    std::lock_guard lock(self->mutex);
    CHECK(!self->done);
    self->done = true;
    if (error) self->error = error;
    self->changed.notify_one();
  }
  std::string wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done; });
    return error;
  }
};

struct Fixture {
  Stream* stream;
  Fixture() {
    char error[kErrorBytes] = "";
    stream = Stream::open(0, kTable.op, error);
    CHECK(stream);
    fake::forbidWaiting(true);
  }
  ~Fixture() {
    delete stream;
    fake::forbidWaiting(false);
  }
  void run(Op op, int64_t* a, int64_t* b = nullptr, int64_t* y = nullptr) {
    OpCall call{};
    call.op = op;
    int64_t* data[] = {a, b, y};
    for (int i = 0; i < 3; ++i) {
      View& view = i < 2 ? call.in[i] : call.out[0];
      view.data = data[i];
      view.rank = data[i] ? 1 : -1;
      view.dtype = DType::i64;
    }
    stream->run(call);
  }
  std::string read(void* target, const void* source, size_t bytes) {
    Answer answer;
    stream->download(target, source, bytes, Answer::tell, &answer);
    return answer.wait();
  }
  double elapsed() {
    Answer answer;
    double milliseconds = -1;
    stream->elapsed(&milliseconds, Answer::tell, &answer);
    CHECK(answer.wait().empty());
    return milliseconds;
  }
  std::string synchronize() {
    Answer answer;
    stream->synchronize(Answer::tell, &answer);
    return answer.wait();
  }
};

void inOrder() {
  Fixture f;
  std::vector<int64_t> device(4);
  const int64_t one = 1;
  int64_t source = 0;
  f.stream->upload(&device[0], &source, 8);
  source = 7;  // was copied
  f.stream->upload(&device[1], &one, 8);
  for (int i = 0; i < 200; ++i) f.run(Op::add, &device[0], &device[1], &device[0]);
  int64_t early = -1, late = -1;
  Answer first, second;
  f.stream->download(&early, &device[0], 8, Answer::tell, &first);
  for (int i = 0; i < 100; ++i) f.run(Op::add, &device[0], &device[1], &device[0]);
  f.stream->download(&late, &device[0], 8, Answer::tell, &second);
  CHECK(f.stream->pending() > 0);
  CHECK(second.wait().empty() && first.wait().empty());
  CHECK(early == 200 && late == 300);
  CHECK(f.read(nullptr, nullptr, 0).empty());
  CHECK(f.synchronize().empty());
  CHECK(f.stream->pending() == 0);
}

// More than all pinned memory, sizes around a chunk, several readers at once.
// It tells how long the device worked since the one before, and not what came before that.
void laps() {
  Fixture f;
  int64_t a = 1, b = 2, y = 0;
  CHECK(f.elapsed() == 0);
  CHECK(f.elapsed() >= 0);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) f.run(Op::add, &a, &b, &y);
  const double some = f.elapsed();
  const std::chrono::duration<double, std::milli> passed = std::chrono::steady_clock::now() - start;
  CHECK(some > 0 && y == 3);
  CHECK(f.elapsed() < some + passed.count());
  f.run(Op::scale, &a);  // fails
  double milliseconds = -1;
  Answer answer;
  f.stream->elapsed(&milliseconds, Answer::tell, &answer);
  CHECK(!answer.wait().empty() && milliseconds == 0);
  CHECK(!f.synchronize().empty());
  CHECK(f.elapsed() == 0 && f.elapsed() >= 0);
}

void largeTransfers() {
  Fixture f;
  std::mt19937 random(5);
  for (const size_t bytes :
       {size_t{1}, (size_t{2} << 20) - 1, size_t{2} << 20, (size_t{2} << 20) + 1, size_t{41} << 20}) {
    std::vector<unsigned char> from(bytes), device(bytes), to(bytes), again(bytes);
    for (auto& byte : from) byte = static_cast<unsigned char>(random());
    f.stream->upload(device.data(), from.data(), bytes);
    Answer first, second;
    f.stream->download(to.data(), device.data(), bytes, Answer::tell, &first);
    f.stream->download(again.data(), device.data(), bytes, Answer::tell, &second);
    CHECK(first.wait().empty() && second.wait().empty());
    CHECK(to == from && again == from);
  }
  CHECK(f.synchronize().empty());
  CHECK(f.stream->pending() == 0);
}

void errorsAndSkipping() {
  Fixture f;
  int64_t device[2] = {1, 1}, read = 0;
  f.run(Op::add, &device[0], &device[1], &device[0]);
  Answer before;
  f.stream->download(&read, &device[0], 8, Answer::tell, &before);
  f.run(Op::scale, &device[0]);
  f.run(Op::add, &device[0], &device[1], &device[0]);  // skipped
  const int64_t nine = 9;
  f.stream->upload(&device[0], &nine, 8);  // skipped
  CHECK(f.read(&read, &device[0], 8) == "scale: no such grid");
  CHECK(before.wait().empty() && read == 2);
  CHECK(f.read(nullptr, nullptr, 0) == "scale: no such grid");
  CHECK(f.synchronize() == "scale: no such grid");
  CHECK(f.synchronize().empty());
  CHECK(f.read(&read, &device[0], 8).empty() && read == 2);
  // An error while the device is busy leaves nothing behind for the next op.
  for (int i = 0; i < 50; ++i) f.run(Op::add, &device[0], &device[1], &device[0]);
  f.run(Op::scale, &device[0]);
  CHECK(f.synchronize() == "scale: no such grid");
  f.run(Op::add, &device[0], &device[1], &device[0]);
  CHECK(f.read(&read, &device[0], 8).empty() && read == 53);
}

// What is thrown on either thread of a stream is the stream's error; both live on.
void exceptions() {
  Fixture f;
  int64_t device[2] = {1, 1}, read = 0;
  for (int round = 0; round < 3; ++round) {
    f.run(Op::linear, &device[0]);
    f.run(Op::add, &device[0], &device[1], &device[0]);
    const std::string error = f.read(&read, device, sizeof read);
    CHECK(error.rfind("ERR_OUT_OF_MEMORY: linear: ", 0) == 0);
    CHECK(f.synchronize() == error && f.synchronize().empty() && device[0] == 1);
    f.stream->hostCall([](void*, const char*, char*) -> int32_t { throw std::runtime_error("thrown by a call"); },
                       nullptr);
    CHECK(f.synchronize() == "thrown by a call");
    f.stream->download(
        nullptr, nullptr, 0, [](void*, const char*) { throw std::runtime_error("thrown by a reader"); }, nullptr);
    CHECK(f.synchronize() == "a result: thrown by a reader" && f.synchronize().empty());
    CHECK(f.stream->pending() == 0);
  }
}

void faultsAreFoundBeforeTheNextOp() {
  Fixture f;
  int64_t device[2] = {-5, 1}, read = 0;
  f.run(Op::assertFinite, &device[1]);
  CHECK(f.read(&read, &device[1], 8).empty());
  f.run(Op::assertFinite, &device[0]);
  f.run(Op::add, &device[0], &device[1], &device[0]);  // skipped
  CHECK(f.read(&read, &device[0], 8) == "assertFinite: element 3 of 1 is -5, expected finite values");
  CHECK(!f.synchronize().empty());
  CHECK(device[0] == -5);
}

void aLostDeviceStaysLost() {
  fake::repairDevice();
  {
    Fixture f;
    int64_t device[2] = {1, 1}, read = 0;
    f.run(Op::add, &device[0], &device[1], &device[0]);
    f.run(Op::zero, &device[0]);
    f.run(Op::add, &device[0], &device[1], &device[0]);
    const std::string error = f.read(&read, &device[0], 8);
    CHECK(error.find("illegal memory access") != std::string::npos);
    CHECK(error.find("lost") != std::string::npos);
    CHECK(f.synchronize() == error && f.synchronize() == error);
    CHECK(f.read(nullptr, nullptr, 0) == error);
    CHECK(f.stream->pending() == 0);
  }
  fake::repairDevice();
}

}  // namespace
}  // namespace lateforge

int main() {
  using namespace lateforge;
  inOrder();
  largeTransfers();
  errorsAndSkipping();
  exceptions();
  faultsAreFoundBeforeTheNextOp();
  laps();
  CHECK(fake::live() == 0);
  aLostDeviceStaysLost();
  CHECK(fake::waitsThatWereForbidden() == 0);
  std::printf("cuda runtime: %d checks, %d failed\n", checks.load(), failures.load());
  return failures ? 1 : 0;
}
