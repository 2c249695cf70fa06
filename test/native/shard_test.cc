// Shards that were damaged, with and without a checksum that fits: every read stays inside the file (run under
// -DLF_SANITIZE=address,undefined), and verification finds what no writer can have written.
#include "../../native/data/shard.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "harness.h"

namespace lateforge::testing {
namespace {

std::mt19937_64 random64;
int64_t below(int64_t n) { return static_cast<int64_t>(random64() % static_cast<uint64_t>(n)); }

template <typename T>
void put(std::vector<uint8_t>& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}
template <typename T>
void append(std::vector<uint8_t>& bytes, const std::vector<T>& values) {
  const size_t at = bytes.size(), size = values.size() * sizeof(T);
  bytes.resize(at + (size + 7) / 8 * 8);
  std::memcpy(bytes.data() + at, values.data(), size);
}

void seal(std::vector<uint8_t>& bytes) {
  put<uint32_t>(bytes, 56, 0);
  put(bytes, 56, crc32(crc32(0, bytes.data() + 64, bytes.size() - 64), bytes.data(), 64));
}

constexpr int64_t kRows = 20;
constexpr uint32_t kVocabulary = 50;

std::vector<uint8_t> sound() {
  std::vector<int64_t> rows{0}, offsets{0};
  std::vector<int32_t> ids;
  std::vector<uint64_t> hashes;
  std::vector<float> scores;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t items = 2 + below(3); items > 0; --items) {
      for (int64_t tokens = 1 + below(9); tokens > 0; --tokens) ids.push_back(static_cast<int32_t>(below(kVocabulary)));
      offsets.push_back(static_cast<int64_t>(ids.size()));
      hashes.push_back(static_cast<uint64_t>(below(6)));
      scores.push_back(static_cast<float>(below(3)));
    }
    rows.push_back(static_cast<int64_t>(hashes.size()));
  }
  std::vector<uint8_t> bytes(64);
  append(bytes, ids);
  append(bytes, rows);
  append(bytes, offsets);
  append(bytes, hashes);
  append(bytes, scores);
  std::memcpy(bytes.data(), "LFSHARD1", 8);
  const uint64_t counts[] = {bytes.size(), kRows, hashes.size(), ids.size()};
  for (size_t i = 0; i < 4; ++i) put(bytes, 8 + 8 * i, counts[i]);
  const uint32_t rest[] = {kVocabulary, 1, 1, 3};
  for (size_t i = 0; i < 4; ++i) put(bytes, 40 + 4 * i, rest[i]);
  seal(bytes);
  return bytes;
}

// Reads all it can be made to read, and checks that what comes back is consistent.
void readAll(const Shard& shard) {
  std::vector<double> rows;
  for (int64_t row = 0; row < std::min<int64_t>(shard.rows(), kRows); ++row) rows.push_back(static_cast<double>(row));
  const std::vector<uint8_t> skip{1, 0, 1, 1, 0};
  const Skiplist skiplist{skip.data(), static_cast<int64_t>(skip.size())};
  for (const auto& [column, most] : {std::pair{ShardColumn::kQuery, int64_t{1}},
                                     {ShardColumn::kDocuments, 1},
                                     {ShardColumn::kDocuments, 2},
                                     {ShardColumn::kDocuments, INT64_MAX}})
    for (size_t row = 0; row < rows.size(); ++row) {
      ItemBlock block{rows.data() + row, 1, column, most};
      if (below(2))
        block.choice = {1 + below(3), random64(), static_cast<uint32_t>(random64()), below(2) ? 0 : 0.5 + below(2)};
      const Expansion expansion{below(12), 4, false};
      BlockSize size;
      if (!shard.measure(block, expansion, &size).ok()) continue;
      const auto sequences = static_cast<size_t>(size.sequences);
      std::vector<int32_t> ids(static_cast<size_t>(size.tokens)), keep(ids.size());
      std::vector<double> offsets(sequences + 1), keptOffsets(sequences + 1);
      std::vector<int32_t> keys(sequences), groups(sequences), all(sequences), lengths(sequences);
      int32_t count;
      shard.counts(block, &count);
      CHECK(count == size.sequences && count >= 1 && count <= most, "counts");
      shard.collate(block, expansion, ids.data(), offsets.data(), keys.data());
      shard.groups(block, groups.data());
      shard.lengths(block, {}, all.data());
      shard.lengths(block, skiplist, lengths.data());
      const int64_t kept =
          keepRows(ids.data(), offsets.data(), size.sequences, skiplist, keep.data(), keptOffsets.data());
      CHECK(kept == static_cast<int64_t>(keptOffsets[sequences]) && offsets[sequences] == size.tokens, "bounds");
      for (size_t i = 0; i < sequences; ++i) {
        const auto tokens = static_cast<int64_t>(offsets[i + 1] - offsets[i]);
        CHECK(groups[i] <= static_cast<int32_t>(i) && keys[i] == all[i] && lengths[i] <= all[i] &&
                  tokens == std::max<int64_t>(all[i], expansion.to),
              "lengths");
        // Expansion tokens (4) stay.
        CHECK(keptOffsets[i + 1] - keptOffsets[i] == static_cast<double>(lengths[i] + tokens - all[i]), "kept");
      }
      if (shard.hasScores()) {
        std::vector<float> scores(sequences);
        shard.scores(block, scores.data());
      }
    }
}

void write(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
}

int damage() {
  random64.seed(testSeed());
  const std::string path = "shard_test." + std::to_string(getpid());
  std::unique_ptr<Shard> shard;
  int found = 0, missed = 0;
  for (int round = 0; round < 1000; ++round) {
    const std::vector<uint8_t> good = sound();
    std::vector<uint8_t> bytes = good;
    const bool sealed = round % 2;
    for (int64_t changes = below(4); changes > 0; --changes) {
      // Words of the header and the index matter more than token ids.
      const int64_t words = std::ssize(bytes) / 8;
      const int64_t word = below(3) == 0 ? 1 + below(7) : below(words);
      const int64_t values[] = {0, 1, -1, INT64_MIN, INT64_MAX, int64_t{1} << below(63), below(200)};
      put(bytes, static_cast<size_t>(8 * word), values[below(7)]);
    }
    if (below(20) == 0) bytes.resize(static_cast<size_t>(below(std::ssize(bytes))));
    if (sealed && bytes.size() >= 64) seal(bytes);
    write(path, bytes);
    const Status status = Shard::open(path, true, &shard);
    if (bytes == good) CHECK(status.ok(), "a sound shard: %s", status.message.c_str());
    if (!sealed && bytes != good) CHECK(status.code == "ERR_FORMAT", "damage went unseen");
    status.ok() ? ++missed : ++found;
    if (status.ok()) readAll(*shard);
    if (Shard::open(path, false, &shard).ok()) readAll(*shard);
  }
  unlink(path.c_str());
  std::printf("%d refused, %d opened\n", found, missed);
  return finish("shard");
}

}  // namespace
}  // namespace lateforge::testing

int main() { return lateforge::testing::damage(); }
