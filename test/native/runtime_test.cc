// Core's runtime and its streams at their ends, and the numbers that callers hand in: what is queued when a stream
// closes is dropped and whoever waits is told, and neither handles, views, rows nor counts pass their bounds.
#include "../../native/runtime/runtime.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../../native/distributed/collective.h"
#include "../../native/ops/list.h"
#include "../../native/runtime/queue.h"
#include "check.h"

namespace lateforge {

struct Stream {
  Queue queue;
};

namespace {

// Ops of the device wait here until the test opens it.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  int passes = 1 << 20, began = 0;
  void pass() {
    std::unique_lock lock(mutex);
    ++began;
    changed.notify_all();
    changed.wait(lock, [&] { return passes > 0; });
    --passes;
  }
  void allow(int value) {
    std::lock_guard lock(mutex);
    passes = value;
    changed.notify_all();
  }
  void untilOneBegan(int n) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return began >= n; });
  }
} gate;

void copyBytes(void* target, const void* source, size_t bytes) { std::memcpy(target, source, bytes); }

int64_t streams = 0;

Backend makeBackend() {
  static const auto types = [] {
    std::array<uint8_t, kOpCount> all{};
    all.fill(kF32);
    return all;
  }();
  Backend b{};
  b.abi = kBackendAbi;
  b.name = "test";
  b.deviceCount = [] { return int32_t{1}; };
  b.openStream = [](int32_t, char*) {
    ++streams;
    return new Stream{{{.run =
                            [](const OpCall&, char*) {
                              gate.pass();
                              return 0;
                            },
                        .write = copyBytes,
                        .read = copyBytes},
                       /*lazy=*/false}};
  };
  b.closeStream = [](Stream* stream) {
    delete stream;
    --streams;
  };
  b.allocate = [](int32_t, size_t bytes) { return std::aligned_alloc(64, bytes); };
  b.release = [](int32_t, void* data, size_t) { std::free(data); };
  b.memoryLimit = [](int32_t) { return int64_t{1} << 30; };
  b.supported = types.data();
  b.workspace = [](Stream*, const OpCall*) { return int64_t{0}; };
  b.run = [](Stream* s, const OpCall* call) { s->queue.run(*call); };
  b.upload = [](Stream* s, void* target, const void* source, size_t bytes) {
    return s->queue.upload(target, source, bytes);
  };
  b.download = [](Stream* s, void* target, const void* source, size_t bytes, Done done, void* context) {
    s->queue.download(target, source, bytes, done, context);
  };
  b.synchronize = [](Stream* s, Done done, void* context) { s->queue.synchronize(done, context); };
  b.hostCall = [](Stream* s, HostCall call, void* context) { s->queue.hostCall(call, context); };
  b.hostAddress = [](void* data, size_t) { return data; };
  b.pending = [](Stream* s) { return s->queue.pending(); };
  return b;
}
const Backend backend = makeBackend();

struct Answer {
  int calls = 0;
  std::string error;
  static void tell(void* context, const char* error) {
    auto* self = static_cast<Answer*>(context);
    ++self->calls;
    self->error = error ? error : "";
  }
};

int32_t call(void* context, const char* error, char*) {
  Answer::tell(context, error);
  return 0;
}

Handle vectorOf(Runtime& runtime, int64_t count) {
  const std::vector<float> values(static_cast<size_t>(count), 1);
  Handle handle = 0;
  CHECK(runtime.create(0, Meta::of(DType::f32, {count}), values.data(), handle).ok(), "a vector");
  return handle;
}

void open(Runtime& runtime) {
  int32_t id;
  CHECK(runtime.openDevice(&backend, 0, id).ok() && id == 0, "the device");
}

void testClosing() {
  Runtime runtime;
  open(runtime);
  Stream* stream = runtime.device(0)->stream;
  const Handle x = vectorOf(runtime, 4);
  gate.allow(0);
  gate.began = 0;
  Handle out[kMaxOutputs] = {};
  for (int i = 0; i < 100; ++i) CHECK(runtime.run(Op::zero, &x, "", 0, out).ok(), "an op");
  float read[4] = {7, 7, 7, 7};
  Answer download, event, host, synchronized;
  CHECK(runtime.read(x, read, Answer::tell, &download).ok(), "a read");
  backend.download(stream, nullptr, nullptr, 0, Answer::tell, &event);
  backend.hostCall(stream, call, &host);
  backend.synchronize(stream, Answer::tell, &synchronized);
  const Handle y = vectorOf(runtime, 4);  // an upload
  Answer late;
  CHECK(runtime.read(y, read, Answer::tell, &late).ok(), "a read behind a synchronize");
  gate.untilOneBegan(1);
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    runtime.closeStreams();
    closed = true;
  });
  while (!closed) {  // one op at a time, so that the stream closes before many have run
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    gate.allow(1);
  }
  closer.join();
  gate.allow(1 << 20);  // for the tests that follow
  CHECK(gate.began <= 50, "%d of 100 ops ran", gate.began);
  for (const Answer* answer : {&download, &event, &host, &synchronized, &late})
    CHECK(answer->calls == 1 && answer->error.rfind("ERR_ABORTED: ", 0) == 0, "%d calls, error '%s'", answer->calls,
          answer->error.c_str());
  CHECK(read[0] == 7, "nothing was read");
  CHECK(streams == 0, "%lld streams", static_cast<long long>(streams));
  runtime.closeStreams();  // once more is nothing
  runtime.clear();
}

// A lazy stream that nobody asked anything of runs nothing at its end.
void testLazy() {
  int ran = 0;
  {
    Queue queue({.run = [&](const OpCall&, char*) { return ++ran, 0; }, .write = copyBytes, .read = copyBytes}, true);
    OpCall op{};
    for (int i = 0; i < 10; ++i) queue.run(op);
  }
  CHECK(ran == 0, "%d ran", ran);
}

void testHandles() {
  Runtime runtime(5);
  open(runtime);
  std::vector<Handle> handles;
  for (int i = 0; i < 4; ++i) handles.push_back(vectorOf(runtime, 4));
  Handle view = 0, more = 0, out[kMaxOutputs] = {};
  CHECK(runtime.view(handles[0], 0, Meta::of(DType::f32, {2}), view).ok(), "the fifth");
  const Meta one = Meta::of(DType::f32, {1});
  CHECK(runtime.create(0, one, nullptr, more).code == "ERR_OUT_OF_MEMORY", "create");
  CHECK(runtime.view(handles[0], 0, one, more).code == "ERR_OUT_OF_MEMORY", "view");
  const Handle in[kMaxInputs] = {handles[0], handles[1]};
  CHECK(runtime.run(Op::add, in, "", 0, out).code == "ERR_OUT_OF_MEMORY", "run");
  CHECK(runtime.dispose(view), "dispose");
  CHECK(runtime.run(Op::add, in, "", 0, out).ok() && out[0], "run, with room");
  CHECK(runtime.run(Op::addInto, in, "", 0, out).ok(), "an op without outputs needs none");
  Meta meta;
  for (const Handle wrong : {Handle{0}, Handle{1} << 52, ~Handle{0}, handles[0] + 1})
    CHECK(runtime.describe(wrong, meta).code == "ERR_DISPOSED" || wrong == handles[1], "handle %llu",
          static_cast<unsigned long long>(wrong));
}

void testSums() {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  Runtime runtime;
  open(runtime);
  const Handle x = vectorOf(runtime, 8);
  Handle view = 0, out[kMaxOutputs] = {};
  for (const int64_t offset : {kMost, kMost - 1, int64_t{-1}, int64_t{8}})
    CHECK(runtime.view(x, offset, Meta::of(DType::f32, {1}), view).code == "ERR_SHAPE", "offset %lld",
          static_cast<long long>(offset));
  const Handle in[kMaxInputs] = {x, x};
  for (const int64_t row : {kMost, int64_t{1}, int64_t{-1}})
    CHECK(runtime.run(Op::copyRows, in, &row, sizeof row, out).code == "ERR_SHAPE", "row %lld",
          static_cast<long long>(row));

  // Counts whose sums and products leave 64 bits.
  struct Two final : Group {
    int32_t rank() const override { return 0; }
    int32_t size() const override { return 2; }
    bool reaches(const Backend*) const override { return true; }
    int64_t workspace(const Backend*, const CollectiveCall&) const override { return 0; }
    uint64_t start(const Backend*, Stream*, const CollectiveCall&) override { return 1; }
    void wait(const Backend*, Stream*, uint64_t) override {}
  } group;
  Handle wide = 0, result = 0;
  CHECK(runtime.create(0, Meta::of(DType::f32, {2, 4}), nullptr, wide).ok(), "a matrix");
  uint64_t ticket;
  Collectives collectives(runtime);
  for (const int64_t n : {kMost, kMost / 2, int64_t{1} << 61, int64_t{1} << 52, int64_t{-1}}) {
    const auto refused = [&](Collective kind, std::vector<int64_t> send, std::vector<int64_t> receive) {
      const std::string code =
          collectives.start(group, {kind, wide, std::move(send), std::move(receive)}, result, ticket).code;
      CHECK(code == "ERR_SHAPE" || code == "ERR_ARGUMENT", "%lld rows: '%s'", static_cast<long long>(n), code.c_str());
    };
    refused(Collective::allGather, {}, {2, n});
    refused(Collective::allGather, {}, {n, n});
    refused(Collective::allToAll, {2, n}, {2, 0});
    refused(Collective::allToAll, {2, 0}, {2, n});
  }
  CHECK(collectives.start(group, {Collective::allGather, wide, {}, {2, 3}}, result, ticket).ok(), "what fits");
}

void testKeyCounts() {
  Runtime runtime;
  open(runtime);
  const auto make = [&](DType dtype, std::initializer_list<int64_t> dims, const void* data) {
    Handle handle = 0;
    CHECK(runtime.create(0, Meta::of(dtype, dims), data, handle).ok(), "a tensor");
    return handle;
  };
  const std::vector<float> rows(5 * 24);
  const int64_t offsets[] = {0, 4, 5};
  const Handle qkv = make(DType::f32, {5, 24}, rows.data()), segments = make(DType::i64, {3}, offsets);
  const params::attention p{1, -1, 0, 0};
  const auto attend = [&](std::vector<int32_t> counts) {
    const Handle in[kMaxInputs] = {qkv, segments, make(DType::i32, {2}, counts.data())};
    Handle out[kMaxOutputs] = {};
    return runtime.run(Op::attention, in, &p, sizeof p, out);
  };
  CHECK(attend({4, 1}).ok() && attend({0, 0}).ok(), "counts that fit");
  const Status status = attend({1, 4});
  CHECK(
      status.code == "ERR_ARGUMENT" && status.message.find("sequence 1 has 4 keys, but 1 tokens") != std::string::npos,
      "too many for the second: '%s'", status.message.c_str());
  // A part of a longer list is known, too.
  const int32_t list[] = {9, 1, 4};
  const Handle all = make(DType::i32, {3}, list);
  Handle part = 0, out[kMaxOutputs] = {};
  CHECK(runtime.view(all, 1, Meta::of(DType::i32, {2}), part).ok(), "a part");
  const Handle in[kMaxInputs] = {qkv, segments, part};
  CHECK(runtime.run(Op::attention, in, &p, sizeof p, out).code == "ERR_ARGUMENT", "too many in a part of a list");
}

}  // namespace
}  // namespace lateforge

int main() {
  using namespace lateforge;
  testClosing();
  testLazy();
  testHandles();
  testSums();
  testKeyCounts();
  return testing::finish("runtime");
}
