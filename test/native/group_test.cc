// HostGroup without processes: every rank is a thread, over thread_transport.h. Results, disagreement, the
// deadline, failures from outside, records, and ends of all kinds. Also built under ThreadSanitizer.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "../../native/distributed/host_group.h"
#include "thread_transport.h"

namespace lateforge {

// What runs in stream order here runs at once, in the thread that issues it.
struct Stream {
  std::string error;
};

namespace {

using namespace std::chrono_literals;

constexpr int kRanks = 3;
std::atomic<int> checks{0}, failures{0};

void check(bool condition, const std::string& what) {
  ++checks;
  if (condition) return;
  ++failures;
  std::printf("FAIL %s\n", what.c_str());
}

Backend makeBackend() {
  Backend backend{};
  backend.hostCall = [](Stream* stream, HostCall call, void* context) {
    char text[kErrorBytes] = "";
    if (call(context, stream->error.empty() ? nullptr : stream->error.c_str(), text) && stream->error.empty())
      stream->error = text;
  };
  backend.download = [](Stream* stream, void*, const void*, size_t, Done done, void* context) {
    done(context, stream->error.empty() ? nullptr : stream->error.c_str());
  };
  backend.hostAddress = [](void* data, size_t) { return data; };
  return backend;
}
const Backend backend = makeBackend();

struct Rank {
  explicit Rank(int r) : group(transportOf(r), r, kRanks) {}
  HostGroup group;
  Stream stream;

  void collective(CollectiveCall call) {
    call.workspaceBytes = group.workspace(&backend, call);
    std::vector<char> workspace(static_cast<size_t>(call.workspaceBytes));
    call.workspace = workspace.data();
    group.wait(&backend, &stream, group.start(&backend, &stream, call));
  }
  void reduce(Collective kind, std::vector<float>& values) {
    collective(
        {kind, DType::f32, values.data(), values.data(), static_cast<int64_t>(values.size()), nullptr, nullptr, 0});
  }
  std::pair<std::vector<std::string>, std::string> exchange(const std::string& bytes) {
    std::promise<std::pair<std::vector<std::string>, std::string>> promise;
    group.exchange(bytes, [&](std::vector<std::string> parts, const char* error) {
      promise.set_value({std::move(parts), error ? error : ""});
    });
    return promise.get_future().get();
  }
};

// One thread a rank; returns once all are through.
void onRanks(const std::function<void(Rank&, int)>& body, const GroupSettings& settings = {}) {
  hub.reset();
  std::vector<std::thread> threads;
  for (int r = 0; r < kRanks; ++r)
    threads.emplace_back([&, r] {
      Rank rank(r);
      GroupSettings own = settings;
      if (!own.record.empty()) own.record += std::to_string(r);
      rank.group.configure(own);
      body(rank, r);
    });
  for (std::thread& thread : threads) thread.join();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string fileText(const std::string& path) {
  for (int i = 0; i < 200 && !std::filesystem::exists(path); ++i) std::this_thread::sleep_for(10ms);
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void testResults() {
  onRanks([](Rank& rank, int r) {
    for (const int64_t count : {0, 1, 5, 40000}) {
      const std::vector<int64_t> rows = {count, 0, count + 2};
      std::vector<float> own(static_cast<size_t>(rows[r])), all(static_cast<size_t>(2 * count + 2));
      for (size_t i = 0; i < own.size(); ++i) own[i] = static_cast<float>(1000 * r + i % 100);
      rank.collective({Collective::allGather, DType::f32, own.data(), all.data(), rows[r], nullptr, rows.data(), 0});
      bool same = true;
      for (int64_t i = 0; i < count; ++i) same &= all[i] == static_cast<float>(i % 100);
      for (int64_t i = 0; i < count + 2; ++i) same &= all[count + i] == static_cast<float>(2000 + i % 100);
      check(same, "allGather");

      std::vector<float> sums(static_cast<size_t>(count)), most(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) sums[i] = most[i] = static_cast<float>((r + 1) * (i % 7));
      rank.reduce(Collective::allReduceSum, sums);
      rank.reduce(Collective::allReduceMax, most);
      same = true;
      for (int64_t i = 0; i < count; ++i) same &= sums[i] == 6 * (i % 7) && most[i] == 3 * (i % 7);
      check(same, "allReduce");

      std::vector<float> from1(static_cast<size_t>(count), static_cast<float>(r));
      rank.collective({Collective::broadcast, DType::f32, from1.data(), from1.data(), count, nullptr, nullptr, 1});
      same = true;
      for (const float x : from1) same &= x == 1;
      check(same, "broadcast");

      // Rank r sends s+1 values r to rank s.
      const std::vector<int64_t> send = {1, 2, 3}, receive(kRanks, r + 1);
      std::vector<float> out(6, static_cast<float>(r)), in(static_cast<size_t>(kRanks * (r + 1)));
      rank.collective({Collective::allToAll, DType::f32, out.data(), in.data(), 6, send.data(), receive.data(), 0});
      same = true;
      for (int i = 0; i < kRanks * (r + 1); ++i) same &= in[i] == i / (r + 1);
      check(same, "allToAll");

      const auto [parts, error] = rank.exchange(std::string(static_cast<size_t>(count * r), 'x'));
      check(error.empty() && parts.size() == kRanks && parts[2].size() == static_cast<size_t>(2 * count), "exchange");
    }
    // More than a reduction takes at a time, in memory that does not grow with it.
    std::vector<float> many(4200001);
    for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>((r + 1) * static_cast<int>(i % 11));
    const auto count = static_cast<int64_t>(many.size());
    const CollectiveCall call{
        Collective::allReduceSum, DType::f32, many.data(), many.data(), count, nullptr, nullptr, 0};
    check(rank.group.workspace(&backend, call) <= 8 << 20, "the workspace of a large sum");
    rank.reduce(Collective::allReduceSum, many);
    int wrong = 0;
    for (size_t i = 0; i < many.size(); ++i) wrong += many[i] != static_cast<float>(6 * static_cast<int>(i % 11));
    check(wrong == 0, "a sum in pieces: " + std::to_string(wrong) + " elements");
    check(rank.stream.error.empty() && !rank.group.failure(), "no error: " + rank.stream.error);
    rank.group.close();
    check(!rank.exchange("late").second.empty(), "nothing is exchanged after the end");
    std::vector<float> values(3);
    rank.reduce(Collective::allReduceSum, values);
    check(contains(rank.stream.error, "closed"), "nothing is issued after the end: " + rank.stream.error);
    rank.group.fail("too late", 1);
    check(!rank.group.failure(), "after the end nothing fails");
  });
  check(hub.closes == kRanks && hub.aborts == 0, "every rank left");
}

void testDisagreement() {
  onRanks(
      [](Rank& rank, int r) {
        std::vector<float> values(4);
        rank.reduce(Collective::allReduceSum, values);
        rank.reduce(r == 1 ? Collective::allReduceMax : Collective::allReduceSum, values);
        check(contains(rank.stream.error, "ERR_GROUP") && contains(rank.stream.error, "disagree"), rank.stream.error);
        std::vector<float> more(4);
        check(contains(rank.exchange("").second, "disagree"), "what follows fails for the same reason");
      },
      {.graceSeconds = 0.05});
  check(hub.aborts == kRanks && hub.code == 9, "every watchdog ended the job");

  onRanks(
      [](Rank& rank, int r) {
        std::vector<float> values(r == 2 ? 3 : 4);
        rank.reduce(Collective::allReduceSum, values);
        check(contains(rank.stream.error, "bytes where this rank expects"), rank.stream.error);
      },
      {.graceSeconds = 0.05});
}

void testDeadline() {
  const auto folder =
      std::filesystem::temp_directory_path() / ("lateforge-group-" + std::to_string(std::random_device()()));
  std::filesystem::create_directory(folder);
  const std::string record = (folder / "rank-").string();
  onRanks(
      [&](Rank& rank, int r) {
        std::vector<float> values(4);
        rank.reduce(Collective::allReduceSum, values);
        rank.group.mark("step \"7\"");
        if (r == 2) {
          std::this_thread::sleep_for(1s);
          return;
        }
        rank.reduce(Collective::allReduceMax, values);
        const auto failure = rank.group.failure();
        check(failure && failure->missing == 2 &&
                  contains(failure->reason, "did not finish within 0.3 s; it waited for rank 2"),
              "the missing rank is named: " + (failure ? failure->reason : ""));
        const std::string text = fileText(record + std::to_string(r));
        check(contains(text, "\"waitingFor\": [2]") && contains(text, "\"missing\": 2") &&
                  contains(text, "\"place\": \"step \\\"7\\\"\"") && contains(text, "\"kind\": \"allReduceMax\""),
              "record: " + text);
      },
      {.deadlineSeconds = 0.3, .graceSeconds = 0.05, .record = record});
  check(hub.aborts == 2, "two watchdogs ended the job");
  std::filesystem::remove_all(folder);
}

void testFailure() {
  onRanks(
      [](Rank& rank, int r) {
        rank.exchange("");
        std::thread outside([&] {
          std::this_thread::sleep_for(50ms);
          rank.group.fail("rank 1 is gone", 1);
          rank.group.fail("and rank 2", 2);
        });
        std::string error = "rank 1 is gone";
        if (r != 1) error = rank.exchange("").second;  // nobody else's comes from rank 1
        outside.join();
        check(contains(error, "rank 1 is gone") && rank.group.failure()->missing == 1,
              "the first failure counts: " + error);
        rank.group.close();  // waits for the watchdog
        check(hub.aborts > 0 && hub.closes == 0, "a failed group is not left in good order");
      },
      {.graceSeconds = 0.1});

  // A stream that failed before its collective.
  onRanks(
      [](Rank& rank, int r) {
        std::vector<float> values(4);
        if (r == 0) rank.stream.error = "linear: overflow";
        rank.reduce(Collective::allReduceSum, values);
        if (r == 0) check(contains(rank.group.failure()->reason, "this rank's linear: overflow"), "stream error");
      },
      {.deadlineSeconds = 0.5, .graceSeconds = 0.05});
}

void testStop() {
  onRanks([](Rank& rank, int r) {
    rank.exchange("");
    if (r == 1) return;  // destroyed without a word
    std::thread outside([&] {
      std::this_thread::sleep_for(50ms);
      rank.group.stop();
    });
    check(contains(rank.exchange("").second, "closed"), "stopped while it waits");
    outside.join();
    check(!rank.exchange("").second.empty() && !rank.group.failure(), "stopped for good, without a failure");
  });
  check(hub.aborts == 0, "nobody ends the job");
  for (int i = 0; i < 200; ++i) Rank alone(i % kRanks);  // started and stopped at once
}

}  // namespace
}  // namespace lateforge

int main() {
  using namespace lateforge;
  testResults();
  testDisagreement();
  testDeadline();
  testFailure();
  testStop();
  std::printf("group: %d checks, %d failed\n", checks.load(), failures.load());
  return failures ? 1 : 0;
}
