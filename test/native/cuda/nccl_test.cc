// Collectives over NCCL against what one process computes: uneven counts, ranks with nothing, sums bit by bit in rank
// order, several under way at once. On a GPU machine as many ranks as there are devices, up to eight; one at least.
#include <limits>
#include <numeric>
#include <random>

#include "../../../native/distributed/rank_sum.h"
#include "../seed.h"
#include "nccl_ranks.h"

namespace lateforge {
namespace {

// The same on every rank.
template <class T>
std::vector<std::vector<T>> inputs(std::mt19937& random, const std::vector<int64_t>& counts) {
  std::vector<std::vector<T>> all;
  for (const int64_t n : counts) {
    all.emplace_back(static_cast<size_t>(n));
    for (T& x : all.back()) x = static_cast<T>(std::normal_distribution<double>()(random));
  }
  return all;
}

template <class T>
bool sameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

void moves(Rank& rank, int r, int ranks, std::mt19937& random, int64_t base) {
  std::vector<int64_t> counts(static_cast<size_t>(ranks));
  for (int s = 0; s < ranks; ++s) counts[s] = s == 1 ? 0 : base + static_cast<int64_t>(random() % 3);
  const auto all = inputs<float>(random, counts);
  const float* own = rank.upload(all[r]);
  std::vector<float> joined;
  for (const auto& part : all) joined.insert(joined.end(), part.begin(), part.end());
  const auto total = static_cast<int64_t>(joined.size());
  float* gathered = rank.upload(std::vector<float>(joined.size(), -1));
  rank.collective({Collective::allGather, DType::f32, own, gathered, counts[r], nullptr, counts.data(), 0});
  check(sameBits(rank.read(gathered, total), joined), "allGather");

  // table[s][t] bytes from s to t
  std::vector<std::vector<int64_t>> table(static_cast<size_t>(ranks), std::vector<int64_t>(static_cast<size_t>(ranks)));
  for (auto& row : table)
    for (int64_t& n : row) n = random() % 4 ? static_cast<int64_t>(random() % static_cast<unsigned>(base + 3)) : 0;
  std::vector<int64_t> sizes, receive;
  for (int s = 0; s < ranks; ++s) {
    sizes.push_back(std::accumulate(table[s].begin(), table[s].end(), int64_t{0}));
    receive.push_back(table[s][r]);
  }
  std::vector<uint8_t> out(static_cast<size_t>(sizes[r])), wanted;
  const auto value = [](int from, int to, int64_t i) { return static_cast<uint8_t>(50 * from + 7 * to + i); };
  size_t at = 0;
  for (int t = 0; t < ranks; ++t)
    for (int64_t i = 0; i < table[r][t]; ++i) out[at++] = value(r, t, i);
  for (int s = 0; s < ranks; ++s)
    for (int64_t i = 0; i < table[s][r]; ++i) wanted.push_back(value(s, r, i));
  const uint8_t* from = rank.upload(out);
  uint8_t* to = rank.upload(std::vector<uint8_t>(wanted.size(), 0xee));
  rank.collective({Collective::allToAll, DType::u8, from, to, sizes[r], table[r].data(), receive.data(), 0});
  check(sameBits(rank.read(to, static_cast<int64_t>(wanted.size())), wanted), "allToAll");

  const int root = static_cast<int>(random() % static_cast<unsigned>(ranks));
  const auto news = inputs<double>(random, std::vector<int64_t>(static_cast<size_t>(ranks), base + 1));
  double* data = rank.upload(news[r]);
  rank.collective({Collective::broadcast, DType::f64, data, data, base + 1, nullptr, nullptr, root});
  check(sameBits(rank.read(data, base + 1), news[root]), "broadcast");
}

template <class T>
void reductions(Rank& rank, int r, int ranks, std::mt19937& random, int64_t count) {
  auto all = inputs<T>(random, std::vector<int64_t>(static_cast<size_t>(ranks), count));
  if (count > 3) {
    all.back()[1] = std::numeric_limits<T>::quiet_NaN();
    all[0][2] = std::numeric_limits<T>::infinity();
    all[0][3] = std::numeric_limits<T>::denorm_min();
  }
  std::vector<char> parts;
  for (const auto& part : all) {
    const char* bytes = reinterpret_cast<const char*>(part.data());
    parts.insert(parts.end(), bytes, bytes + part.size() * sizeof(T));
  }
  for (const Collective kind : {Collective::allReduceSum, Collective::allReduceMax}) {
    std::vector<T> wanted(static_cast<size_t>(count));
    reduceRanks<T>(kind, wanted.data(), parts.data(), count, ranks);
    T* data = rank.upload(all[r]);
    rank.collective(rank.reduction(kind, data, count));
    std::vector<T> found = rank.read(data, count);
    if (count > 3) {
      check(found[1] != found[1], "a NaN stays one");
      found[1] = wanted[1];  // whose bits differ between processors
    }
    check(sameBits(found, wanted), std::string(nameOf(kind)) + " of " + std::to_string(count));
  }
}

// As training does with parameter gradients: all are started before any is waited for.
void several(Rank& rank, int r, int ranks) {
  constexpr int64_t kCount = 30'001;
  std::vector<uint64_t> tickets;
  std::vector<float*> data;
  for (int i = 0; i < 5; ++i) {
    data.push_back(rank.upload(std::vector<float>(kCount, static_cast<float>(r + i))));
    tickets.push_back(rank.start(rank.reduction(Collective::allReduceSum, data.back(), kCount)));
  }
  for (const uint64_t ticket : tickets) rank.wait(ticket);
  for (int i = 0; i < 5; ++i)
    check(rank.read(data[i], kCount)[kCount - 1] == static_cast<float>(ranks * i + ranks * (ranks - 1) / 2), "several");
}

// More than a link's scratch holds.
void pieces(Rank& rank, int r, int ranks) {
  const int64_t count = kChannelScratchBytes / 4 + 12'345;
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1009 + static_cast<size_t>(r));
  float* data = rank.upload(values);
  rank.collective(rank.reduction(Collective::allReduceSum, data, count));
  const std::vector<float> found = rank.read(data, count);
  size_t wrong = 0;
  for (size_t i = 0; i < found.size(); ++i)
    wrong += found[i] != static_cast<float>(static_cast<int>(i % 1009) * ranks + ranks * (ranks - 1) / 2);
  check(wrong == 0, "a sum in pieces");
}

void everything(int ranks, unsigned seed, bool large) {
  onRanks(ranks,
          [=](Rank& rank, int r) {
            std::mt19937 random(seed);
            for (const int64_t base : {0, 1, 6, 5000}) moves(rank, r, ranks, random, base);
            for (const int64_t count : {0, 1, 5, 16'384, 16'385, 40'003}) {
              reductions<float>(rank, r, ranks, random, count);
              reductions<double>(rank, r, ranks, random, count);
            }
            if (large) pieces(rank, r, ranks);
            several(rank, r, ranks);
            check(rank.error.empty() && rank.failure().empty(), rank.error + rank.failure());
            rank.group.close();
          },
          {.group = {.deadlineSeconds = pretended() ? 20. : 100., .graceSeconds = 0.05}});
  check(hub.closes == ranks && hub.aborts == 0, "every rank left in good order");
}

}  // namespace
}  // namespace lateforge

int main() {
  using namespace lateforge;
  int devices = 0;
  constexpr int kSkipped = 77;  // as device.h
  if (const cudaError_t status = cudaGetDeviceCount(&devices); status != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: %s\n", status == cudaSuccess ? "the driver lists none" : cudaGetErrorString(status));
    return kSkipped;
  }
  const std::string library = cuda::describeNccl();
  std::printf("NCCL: %s\n", library.c_str());
  if (!contains(library, ", version")) return kSkipped;
  const unsigned seed = testing::testSeed();
  const int most = std::min(devices, pretended() ? 4 : kMostRanks);
  for (int ranks = 1; ranks <= most; ++ranks) everything(ranks, seed + static_cast<unsigned>(ranks), ranks == most);
  std::printf("nccl: up to %d ranks, %d checks, %d failed\n", hub.ranks, checks.load(), failures.load());
  return failures ? 1 : 0;
}
