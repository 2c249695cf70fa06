#include "shard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "../platform/platform.h"
#include "../runtime/philox.h"

namespace lateforge {

static_assert(std::endian::native == std::endian::little, "shards are read in place, little-endian");

namespace {

constexpr size_t kHeaderBytes = 64;
constexpr char kMagic[] = "LFSHARD1";
constexpr uint32_t kHasScores = 1;
// No section of a sane file is larger; keeps every size computation far from overflow.
constexpr uint64_t kMaxCount = uint64_t{1} << 48;

struct Header {
  char magic[8];
  uint64_t fileBytes, rows, items, tokens;
  uint32_t vocabulary, flags, minDocuments, maxDocuments, crc, zero;
};
static_assert(sizeof(Header) == kHeaderBytes);

constexpr size_t padded(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

// Slicing-by-8 tables of the reflected polynomial 0xEDB88320.
constexpr auto kCrcTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0u);
    tables[0][byte] = value;
  }
  for (size_t t = 1; t < 8; ++t)
    for (size_t byte = 0; byte < 256; ++byte)
      tables[t][byte] = (tables[t - 1][byte] >> 8) ^ tables[0][tables[t - 1][byte] & 255];
  return tables;
}();

Status damaged(const std::string& path, const char* what) {
  return Status::error("ERR_FORMAT", "%s is damaged: %s. Delete it; it is built again from its source", path.c_str(),
                       what);
}

}  // namespace

uint32_t crc32(uint32_t crc, const uint8_t* data, size_t bytes) {
  crc = ~crc;
  for (; bytes >= 8; bytes -= 8, data += 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    word ^= crc;
    crc = 0;
    for (int i = 0; i < 8; ++i) crc ^= kCrcTables[7 - i][(word >> (8 * i)) & 255];
  }
  for (; bytes > 0; --bytes, ++data) crc = (crc >> 8) ^ kCrcTables[0][(crc ^ *data) & 255];
  return ~crc;
}

Status Shard::open(const std::string& path, bool verify, std::unique_ptr<Shard>* out) {
  std::unique_ptr<Shard> shard(new Shard());
  LF_TRY(shard->map(path));
  LF_TRY(shard->layout(path));
  if (verify) LF_TRY(shard->verify(path));
  *out = std::move(shard);
  return Status::fine();
}

Shard::~Shard() {
  if (data_) platform::unmapFile(data_, bytes_);
}

Status Shard::map(const std::string& path) {
  std::string problem;
  LF_REQUIRE(platform::mapFile(path, data_, bytes_, problem), "ERR_FORMAT", "%s %s", path.c_str(), problem.c_str());
  return bytes_ < kHeaderBytes ? damaged(path, "it is shorter than a header") : Status::fine();
}

Status Shard::layout(const std::string& path) {
  Header header;
  std::memcpy(&header, data_, kHeaderBytes);
  if (std::memcmp(header.magic, kMagic, 8) != 0) return damaged(path, "it does not start with LFSHARD1");
  if (header.fileBytes != bytes_) return damaged(path, "its size is not the size it was written with");
  if (header.rows > kMaxCount || header.items > kMaxCount || header.tokens > kMaxCount)
    return damaged(path, "its counts are impossible");
  const bool scored = header.flags & kHasScores;
  const size_t ids = kHeaderBytes;
  const size_t rows = ids + padded(header.tokens * 4);
  const size_t offsets = rows + (header.rows + 1) * 8;
  const size_t hashes = offsets + (header.items + 1) * 8;
  const size_t scores = hashes + header.items * 8;
  if (scores + (scored ? padded(header.items * 4) : 0) != bytes_) return damaged(path, "its sections do not fill it");
  rows_ = static_cast<int64_t>(header.rows);
  items_ = static_cast<int64_t>(header.items);
  tokens_ = static_cast<int64_t>(header.tokens);
  vocabulary_ = header.vocabulary;
  minDocuments_ = header.minDocuments;
  maxDocuments_ = header.maxDocuments;
  ids_ = reinterpret_cast<const int32_t*>(data_ + ids);
  rowItems_ = reinterpret_cast<const int64_t*>(data_ + rows);
  offsets_ = reinterpret_cast<const int64_t*>(data_ + offsets);
  hashes_ = reinterpret_cast<const uint64_t*>(data_ + hashes);
  scores_ = scored ? reinterpret_cast<const float*>(data_ + scores) : nullptr;
  return Status::fine();
}

Status Shard::verify(const std::string& path) const {
  Header header;
  std::memcpy(&header, data_, kHeaderBytes);
  const uint32_t expected = std::exchange(header.crc, 0);
  uint32_t crc = crc32(0, data_ + kHeaderBytes, bytes_ - kHeaderBytes);
  crc = crc32(crc, reinterpret_cast<const uint8_t*>(&header), kHeaderBytes);
  if (crc != expected) return damaged(path, "its checksum does not match");
  if (rowItems_[0] != 0 || rowItems_[rows_] != items_) return damaged(path, "its rows do not cover its items");
  for (int64_t row = 0; row < rows_; ++row) {
    if (rowItems_[row + 1] <= rowItems_[row]) return damaged(path, "its rows are out of order");
    const int64_t documents = rowItems_[row + 1] - rowItems_[row] - 1;
    if (documents < minDocuments_ || documents > maxDocuments_ || documents < 1)
      return damaged(path, "a row has an impossible number of documents");
  }
  if (offsets_[0] != 0 || offsets_[items_] != tokens_) return damaged(path, "its items do not cover its tokens");
  for (int64_t item = 0; item < items_; ++item)
    if (offsets_[item + 1] < offsets_[item]) return damaged(path, "its token offsets are out of order");
  for (int64_t token = 0; token < tokens_; ++token)
    if (ids_[token] < 0 || ids_[token] >= vocabulary_) return damaged(path, "a token id is outside the vocabulary");
  return Status::fine();
}

// Whether a document beside the positive is no positive itself, by their scores.
bool Shard::isKept(const ItemBlock& block, int64_t positive, int64_t item) const {
  const double by = block.choice.dropAbove, score = by == 0 ? 0 : scores_[positive];
  return by == 0 || scores_[item] < score * (score >= 0 ? by : 2 - by);
}

// Documents beside the positive that the block may take of a row.
int64_t Shard::negativesOf(const ItemBlock& block, int64_t row) const {
  if (block.column == ShardColumn::kQuery) return 0;
  const int64_t first = rowItems_[row] + 1, last = rowItems_[row + 1];
  if (block.choice.dropAbove == 0) return std::min(block.most, last - first) - 1;
  int64_t kept = 0;
  for (int64_t item = first + 1; item < last && kept < block.most - 1; ++item) kept += isKept(block, first, item);
  return kept;
}

// Calls visit(item) for every item of a row that the block takes, in the row's order. A draw takes each set of so many
// with the same probability (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S); its words are those of
// (seed, step, row), where dropout's are of columns 0 and 1 (sequenceSeed in lib/io/random.ts).
template <class Visit>
void Shard::eachOf(const ItemBlock& block, int64_t row, const Visit& visit) const {
  const auto& [count, seed, step, dropAbove] = block.choice;
  const auto low = [](auto n) { return static_cast<uint32_t>(n); };
  const auto high = [](auto n) { return static_cast<uint32_t>(n >> 32); };
  const int64_t first = rowItems_[row] + static_cast<int64_t>(block.column), negatives = negativesOf(block, row);
  visit(first);
  int64_t wanted = std::min(count, negatives);
  Philox4 words{};
  int64_t i = -1;  // among the negatives that are kept
  for (int64_t item = first + 1; wanted > 0; ++item) {
    if (!isKept(block, first, item)) continue;
    const int64_t left = negatives - ++i;
    if (left > wanted) {
      if (i % 4 == 0) words = philox(low(seed), high(seed), step, low(row), high(row), low(2 + i / 4));
      if (static_cast<int64_t>(uint64_t{words.word[i % 4]} * static_cast<uint64_t>(left) >> 32) >= wanted) continue;
    }
    visit(item);
    --wanted;
  }
}

// Calls visit(sequence, item) for every item of the block, row by row.
template <class Visit>
void Shard::each(const ItemBlock& block, const Visit& visit) const {
  int64_t sequence = 0;
  for (int64_t i = 0; i < block.rowCount; ++i) {
    const auto row = static_cast<int64_t>(block.rows[i]);
    eachOf(block, row, [&](int64_t item) { visit(sequence++, item); });
  }
}

Status Shard::measure(const ItemBlock& block, const Expansion& expansion, BlockSize* size) const {
  LF_REQUIRE(block.most >= 1, "ERR_ARGUMENT", "%lld items of a row were asked for", static_cast<long long>(block.most));
  LF_REQUIRE(block.column != ShardColumn::kQuery || block.most == 1, "ERR_ARGUMENT",
             "%lld queries of a row were asked for; a row has one", static_cast<long long>(block.most));
  LF_REQUIRE(block.choice.dropAbove == 0 || scores_, "ERR_DATA", "the shard has no scores to drop documents by");
  *size = {};
  for (int64_t i = 0; i < block.rowCount; ++i) {
    const double row = block.rows[i];
    LF_REQUIRE(row >= 0 && row < static_cast<double>(rows_) && row == static_cast<double>(static_cast<int64_t>(row)),
               "ERR_ARGUMENT", "row %g of a shard with %lld rows", row, static_cast<long long>(rows_));
    const auto r = static_cast<int64_t>(row);
    const int64_t begin = rowItems_[r], end = rowItems_[r + 1];
    LF_REQUIRE(begin >= 0 && begin < end && end <= items_ && end - begin >= 2, "ERR_FORMAT",
               "row %lld of a shard is damaged", static_cast<long long>(r));
    int64_t damagedItem = -1;
    eachOf(block, r, [&](int64_t item) {
      const int64_t from = offsets_[item], to = offsets_[item + 1];
      if (!(from >= 0 && from <= to && to <= tokens_ && to - from <= INT32_MAX)) {
        damagedItem = item;
        return;
      }
      size->tokens += std::max(to - from, expansion.to);
      ++size->sequences;
    });
    LF_REQUIRE(damagedItem < 0, "ERR_FORMAT", "item %lld of a shard is damaged", static_cast<long long>(damagedItem));
  }
  // What numbers them is 32 bits wide.
  LF_REQUIRE(size->sequences <= INT32_MAX, "ERR_DATA", "a batch of %lld texts; the limit is 2^31 - 1",
             static_cast<long long>(size->sequences));
  return Status::fine();
}

void Shard::counts(const ItemBlock& block, int32_t* counts) const {
  for (int64_t i = 0; i < block.rowCount; ++i)
    counts[i] =
        static_cast<int32_t>(1 + std::min(block.choice.count, negativesOf(block, static_cast<int64_t>(block.rows[i]))));
}

void Shard::collate(const ItemBlock& block, const Expansion& expansion, int32_t* ids, double* offsets,
                    int32_t* keyLengths) const {
  int64_t written = 0;
  offsets[0] = 0;
  each(block, [&](int64_t sequence, int64_t item) {
    const int64_t real = offsets_[item + 1] - offsets_[item];
    const int64_t length = std::max(real, expansion.to);
    std::copy_n(ids_ + offsets_[item], real, ids + written);
    std::fill_n(ids + written + real, length - real, expansion.maskId);
    keyLengths[sequence] = static_cast<int32_t>(expansion.attend ? length : real);
    written += length;
    offsets[sequence + 1] = static_cast<double>(written);
  });
}

void Shard::lengths(const ItemBlock& block, const Skiplist& skiplist, int32_t* lengths) const {
  each(block, [&](int64_t sequence, int64_t item) {
    const int64_t from = offsets_[item], to = offsets_[item + 1];
    // Without a skiplist no token is looked at.
    lengths[sequence] = static_cast<int32_t>(
        skiplist.size == 0 ? to - from
                           : std::count_if(ids_ + from, ids_ + to, [&](int32_t id) { return skiplist.keeps(id); }));
  });
}

void Shard::groups(const ItemBlock& block, int32_t* groups) const {
  std::unordered_map<uint64_t, int32_t> seen;
  seen.reserve(static_cast<size_t>(block.rowCount));
  each(block, [&](int64_t sequence, int64_t item) {
    groups[sequence] = seen.try_emplace(hashes_[item], static_cast<int32_t>(seen.size())).first->second;
  });
}

void Shard::places(const ItemBlock& block, int32_t* places) const {
  int64_t sequence = 0;
  for (int64_t i = 0; i < block.rowCount; ++i) {
    const auto row = static_cast<int64_t>(block.rows[i]);
    const int64_t first = rowItems_[row] + static_cast<int64_t>(block.column);
    eachOf(block, row, [&](int64_t item) { places[sequence++] = static_cast<int32_t>(item - first); });
  }
}

void Shard::scores(const ItemBlock& block, float* scores) const {
  each(block, [&](int64_t sequence, int64_t item) { scores[sequence] = scores_[item]; });
}

int64_t keepRows(const int32_t* ids, const double* offsets, int64_t sequences, const Skiplist& skiplist, int32_t* keep,
                 double* keptOffsets) {
  int64_t kept = 0;
  int64_t token = 0;
  keptOffsets[0] = 0;
  for (int64_t sequence = 0; sequence < sequences; ++sequence) {
    const auto end = static_cast<int64_t>(offsets[sequence + 1]);
    // Written whether it stays or not: which tokens do is not to be predicted, and a wrong guess costs more.
    for (; token < end; ++token) {
      keep[kept] = static_cast<int32_t>(token);
      kept += skiplist.keeps(ids[token]);
    }
    keptOffsets[sequence + 1] = static_cast<double>(kept);
  }
  return kept;
}

}  // namespace lateforge
