// A tokenized shard: one source's rows, each a query and its documents, memory-mapped and checked once at open.
//
// File, little-endian, sections back to back, each at a multiple of 8 bytes:
//   header     64 bytes: magic "LFSHARD1"; u64 file bytes, rows, items, tokens; u32 vocabulary, flags (1: scores),
//              fewest and most documents of a row, CRC-32, 0
//   ids        int32 [tokens]      all items' tokens, row by row: query, positive, other documents
//   rows       int64 [rows + 1]    first item of each row
//   offsets    int64 [items + 1]   first token of each item
//   hashes     u64   [items]       hash of the item's text: equal texts are equal content
//   scores     f32   [items]       teacher scores, if flagged (0 at queries)
// The CRC-32 (IEEE) runs over everything after the header, then over the header with its own field zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "../runtime/status.h"

namespace lateforge {

enum class ShardColumn : int { kQuery = 0, kDocuments = 1 };

// Which documents beside the positive: of those that score below `dropAbove` times the positive (0: of all), so many as
// the block takes; of these at most `count`, drawn anew for each step and row.
struct Choice {
  int64_t count = INT64_MAX;
  uint64_t seed = 0;
  uint32_t step = 0;
  double dropAbove = 0;
};

// The query of each row, or its first `most` documents: all of them where a row has no more; of these what `choice`
// says.
struct ItemBlock {
  const double* rows;  // [rowCount] row numbers, as JS holds them
  int64_t rowCount;
  ShardColumn column;
  int64_t most;  // queries: 1
  Choice choice = {};
};

// Sequences of a block, row by row, and tokens of all of them.
struct BlockSize {
  int64_t sequences = 0, tokens = 0;
};

// Sequences shorter than `to` tokens are filled up with `maskId`; `attend` counts the fill as attention keys.
struct Expansion {
  int64_t to;
  int32_t maskId;
  bool attend;
};

// A byte per token id: 1 for those that are left out of scoring. Ids outside the table are kept.
struct Skiplist {
  const uint8_t* skip;
  int64_t size;

  bool keeps(int32_t id) const { return id < 0 || id >= size || !skip[id]; }
};

class Shard {
 public:
  // `verify` reads the whole file: checksum, offsets in order, ids below the vocabulary size.
  // Without it only the header and the section bounds are checked, and each access checks the offsets it uses.
  static Status open(const std::string& path, bool verify, std::unique_ptr<Shard>* out);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  int64_t rows() const { return rows_; }
  int64_t items() const { return items_; }
  int64_t tokens() const { return tokens_; }
  int64_t vocabulary() const { return vocabulary_; }
  int64_t minDocuments() const { return minDocuments_; }
  int64_t maxDocuments() const { return maxDocuments_; }
  bool hasScores() const { return scores_ != nullptr; }

  // Checks rows and offsets, and counts sequences and tokens. What follows takes a block that was measured.
  Status measure(const ItemBlock& block, const Expansion& expansion, BlockSize* size) const;
  // Items of each row of the block. counts[rowCount]
  void counts(const ItemBlock& block, int32_t* counts) const;
  // Row-major sequences: ids[tokens], offsets[sequences + 1], keyLengths[sequences].
  void collate(const ItemBlock& block, const Expansion& expansion, int32_t* ids, double* offsets,
               int32_t* keyLengths) const;
  // Tokens of each sequence, without expansion; with a skiplist, tokens that are not on it. lengths[sequences].
  void lengths(const ItemBlock& block, const Skiplist& skiplist, int32_t* lengths) const;
  // Content groups, dense from 0 in order of appearance: equal texts have equal numbers. groups[sequences].
  void groups(const ItemBlock& block, int32_t* groups) const;
  // Which document of its row each sequence is, 0 the positive. places[sequences]
  void places(const ItemBlock& block, int32_t* places) const;
  // scores[sequences]; the shard has scores.
  void scores(const ItemBlock& block, float* scores) const;

 private:
  Shard() = default;
  Status map(const std::string& path);
  Status layout(const std::string& path);
  Status verify(const std::string& path) const;
  bool isKept(const ItemBlock& block, int64_t positive, int64_t item) const;
  int64_t negativesOf(const ItemBlock& block, int64_t row) const;
  template <class Visit>
  void eachOf(const ItemBlock& block, int64_t row, const Visit& visit) const;
  template <class Visit>
  void each(const ItemBlock& block, const Visit& visit) const;

  const uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  int64_t rows_ = 0, items_ = 0, tokens_ = 0, vocabulary_ = 0, minDocuments_ = 0, maxDocuments_ = 0;
  const int32_t* ids_ = nullptr;
  const int64_t* rowItems_ = nullptr;
  const int64_t* offsets_ = nullptr;
  const uint64_t* hashes_ = nullptr;
  const float* scores_ = nullptr;
};

// Rows of collated ids that take part in scoring: `keep` (room for all of them) gets their numbers,
// keptOffsets[sequences + 1] their new bounds. Returns how many there are.
int64_t keepRows(const int32_t* ids, const double* offsets, int64_t sequences, const Skiplist& skiplist, int32_t* keep,
                 double* keptOffsets);

uint32_t crc32(uint32_t crc, const uint8_t* data, size_t bytes);

}  // namespace lateforge
