// The group over a pretend NCCL, where something goes wrong, and the order of collectives and ops of a stream.
#include <chrono>

#include "fake_cudart.h"
#include "nccl_ranks.h"

namespace lateforge {
namespace {

using namespace std::chrono_literals;

const GroupSettings kQuick = {.deadlineSeconds = 0.4, .graceSeconds = 0.05};

// `add`: y = a + b of floats, and takes its time. `scale` cannot be launched.
Ops slowOps() {
  Ops ops;
  ops.op[static_cast<int>(Op::add)] = [](const OpCall& call, cuda::Context& context) {
    fake::launch(context.stream, [call] {
      std::this_thread::sleep_for(3ms);
      for (int64_t i = 0; i < call.out[0].count(); ++i)
        call.out[0].as<float>()[i] = call.in[0].as<float>()[i] + call.in[1].as<float>()[i];
    });
    return int32_t{0};
  };
  ops.op[static_cast<int>(Op::scale)] = [](const OpCall&, cuda::Context& context) {
    std::snprintf(context.error, kErrorBytes, "no such grid");
    return int32_t{1};
  };
  return ops;
}

void run(Rank& rank, Op op, float* a, float* b, float* y, int64_t count) {
  OpCall call{};
  call.op = op;
  float* data[] = {a, b, y};
  for (int i = 0; i < 3; ++i) {
    View& view = i < 2 ? call.in[i] : call.out[0];
    view.data = data[i];
    view.rank = 1;
    view.dims[0] = count;
  }
  rank.stream->run(call);
}

// A collective sees what was issued before, runs beside what is issued before it is waited for, and what is issued
// after that sees its result.
void testOrder() {
  constexpr int kRanks = 3;
  constexpr int64_t kCount = 30'000;
  onRanks(kRanks,
          [](Rank& rank, int r) {
            float* one = rank.upload(std::vector<float>(kCount, 1));
            float* sum = rank.upload(std::vector<float>(kCount, static_cast<float>(r)));
            float* other = rank.upload(std::vector<float>(kCount, 0));
            float wanted = 0, beside = 0;
            for (int round = 0; round < 4; ++round) {
              for (int i = 0; i < 3; ++i) run(rank, Op::add, sum, one, sum, kCount);
              const uint64_t ticket = rank.start(rank.reduction(Collective::allReduceSum, sum, kCount));
              for (int i = 0; i < 3; ++i) run(rank, Op::add, other, one, other, kCount);
              rank.wait(ticket);
              run(rank, Op::add, sum, one, sum, kCount);
              wanted = round == 0 ? 3 * kRanks + 3 + 1 : kRanks * (wanted + 3) + 1;  // 0 + 1 + 2 = 3
              beside += 3;
            }
            const std::vector<float> found = rank.read(sum, kCount), rest = rank.read(other, kCount);
            check(found[0] == wanted && found[kCount - 1] == wanted, "in the order of the stream");
            check(rest[0] == beside && rest[kCount - 1] == beside, "and beside it");
            check(rank.error.empty(), rank.error);
            rank.group.close();
          },
          {.ops = slowOps()});
}

void testOneDeviceForTwo() {
  onRanks(3,
          [](Rank& rank, int) {
            float* data = rank.upload(std::vector<float>(4, 1));
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
            rank.read(data, 4);
            check(contains(rank.error, "ERR_GROUP: ranks 0 and 1 are on the same device, GPU-f0"), rank.error);
            check(contains(rank.error, "no more ranks on a machine than it has devices"), rank.error);
          },
          {.group = kQuick, .oneDevice = true});
}

void testDisagreement() {
  onRanks(3,
          [](Rank& rank, int r) {
            float* data = rank.upload(std::vector<float>(4, 1));
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
            rank.collective(rank.reduction(r == 1 ? Collective::allReduceMax : Collective::allReduceSum, data, 4));
            rank.read(data, 4);
            check(contains(rank.error, "ERR_GROUP: the ranks disagree"), rank.error);
            check(contains(rank.failure(), "disagree"), rank.failure());
          },
          {.group = kQuick});
  check(hub.aborts == 3 && hub.code == 9, "every watchdog ended the job");
  onRanks(2,
          [](Rank& rank, int r) {
            float* data = rank.upload(std::vector<float>(9, 1));
            rank.collective(rank.reduction(Collective::allReduceSum, data, 8 + r));
            rank.read(data, 4);
            check(contains(rank.error, "bytes where this rank expects"), rank.error);
          },
          {.group = kQuick});
}

// The announcement names whom the others wait for; NCCL is not even asked.
void testAbsence() {
  onRanks(3,
          [](Rank& rank, int r) {
            float* data = rank.upload(std::vector<float>(4, 1));
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
            if (r == 2) return std::this_thread::sleep_for(1s);
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
            rank.read(data, 4);
            check(contains(rank.error, "did not finish within 0.4 s; it waited for rank 2"), rank.error);
            check(rank.group.failure()->missing == 2, "the missing rank is named");
          },
          {.group = kQuick});
  check(hub.aborts == 2, "two watchdogs ended the job");
}

// NCCL reports an error on one rank; on the others a kernel waits until it is aborted.
void testErrorOfNccl() {
  pretended()->failAt(1, 2);
  onRanks(3,
          [](Rank& rank, int r) {
            float* data = rank.upload(std::vector<float>(4, 1));
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
            rank.read(data, 4);
            check(rank.error.empty(), "the first one is well: " + rank.error);
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));  // is not begun
            rank.read(data, 4);
            const std::string wanted = r == 1 ? "NCCL, an exchange: unhandled system error; the pretend network is down"
                                              : "did not finish within";
            check(contains(rank.error, wanted), rank.error);
            check(contains(rank.failure(), wanted), rank.failure());
            rank.group.close();  // waits for the watchdog
          },
          {.group = kQuick});
  check(hub.aborts == 3 && hub.closes == 0, "every watchdog ended the job");
}

void testErrorOfTheStream() {
  onRanks(2,
          [](Rank& rank, int r) {
            float* data = rank.upload(std::vector<float>(4, 1));
            if (r == 1) run(rank, Op::scale, data, data, data, 4);
            rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
            rank.read(data, 4);
            if (r == 1) check(contains(rank.failure(), "this rank's scale: no such grid"), rank.failure());
            check(!rank.error.empty(), "nobody goes on");
          },
          {.group = kQuick, .ops = slowOps()});
}

// Whoever stops gives up what is under way, at any moment.
void testStop() {
  for (int round = 0; round < 10; ++round)
    onRanks(2, [round](Rank& rank, int r) {
      float* data = rank.upload(std::vector<float>(4, 1));
      rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
      rank.read(data, 4);
      if (r == 1) return;
      std::thread outside([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(round));
        rank.group.stop();
      });
      rank.collective(rank.reduction(Collective::allReduceSum, data, 4));
      rank.read(data, 4);
      check(contains(rank.error, "closed") && rank.failure().empty(), rank.error);
      outside.join();
    });
  check(hub.aborts == 0, "nobody ends the job");
}

}  // namespace
}  // namespace lateforge

int main() {
  using namespace lateforge;
  if (!pretended()) {
    std::printf("LATEFORGE_CUDA_LIB_PATH must be the folder of fake_nccl\n");
    return 1;
  }
  testOrder();
  testOneDeviceForTwo();
  testDisagreement();
  testAbsence();
  testErrorOfNccl();
  testErrorOfTheStream();
  testStop();
  check(fake::live() == 0, "everything on the devices was given back");
  std::printf("nccl faults: %d checks, %d failed\n", checks.load(), failures.load());
  return failures ? 1 : 0;
}
