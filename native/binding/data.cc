// Shards for JavaScript: small integer handles of one environment, typed arrays in and out.
#include <limits>

#include "env.h"

namespace lateforge::binding {
namespace {

template <typename Array>
Array arrayAt(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type, const char* name) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != type)
    raise(info.Env(), "ERR_ARGUMENT", std::string(name) + " is a typed array of the wrong kind");
  return info[index].As<Array>();
}

Shard& shardAt(const Napi::CallbackInfo& info) {
  auto& shards = environmentOf(info.Env()).shards;
  const auto found = shards.find(integerAt(info, 0, "shard"));
  if (found == shards.end()) raise(info.Env(), "ERR_DISPOSED", "the shard was closed");
  return *found->second;
}

// (shard, rows, column, first, count, …)
ItemBlock blockAt(const Napi::CallbackInfo& info) {
  const auto rows = arrayAt<Napi::Float64Array>(info, 1, napi_float64_array, "rows");
  const int64_t column = integerAt(info, 2, "column");
  if (column != 0 && column != 1) raise(info.Env(), "ERR_ARGUMENT", "column must be 0 (query) or 1 (documents)");
  return {rows.Data(), static_cast<int64_t>(rows.ElementLength()), static_cast<ShardColumn>(column),
          integerAt(info, 3, "first"), integerAt(info, 4, "count")};
}

Skiplist skiplistAt(const Napi::CallbackInfo& info, size_t index) {
  const auto skip = arrayAt<Napi::Uint8Array>(info, index, napi_uint8_array, "skip");
  return {skip.Data(), static_cast<int64_t>(skip.ElementLength())};
}

Napi::Value shardOpen(const Napi::CallbackInfo& info) {
  Environment& self = environmentOf(info.Env());
  std::unique_ptr<Shard> shard;
  check(info.Env(), Shard::open(stringAt(info, 0, "path"), info[1].ToBoolean(), &shard));
  const int64_t handle = ++self.lastShard;
  self.shards.emplace(handle, std::move(shard));
  return Napi::Number::New(info.Env(), static_cast<double>(handle));
}

Napi::Value shardInfo(const Napi::CallbackInfo& info) {
  const Shard& shard = shardAt(info);
  auto out = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, int64_t value) { out.Set(name, static_cast<double>(value)); };
  set("rows", shard.rows());
  set("items", shard.items());
  set("tokens", shard.tokens());
  set("vocabulary", shard.vocabulary());
  set("minDocuments", shard.minDocuments());
  set("maxDocuments", shard.maxDocuments());
  out.Set("scores", shard.hasScores());
  return out;
}

Napi::Value shardClose(const Napi::CallbackInfo& info) {
  const bool open = environmentOf(info.Env()).shards.erase(integerAt(info, 0, "shard")) == 1;
  return Napi::Boolean::New(info.Env(), open);
}

// (shard, rows, column, first, count, expandTo, maskId, attend)
Napi::Value shardCollate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Shard& shard = shardAt(info);
  const ItemBlock block = blockAt(info);
  const int64_t expandTo = integerAt(info, 5, "expandTo");
  const int64_t maskId = integerAt(info, 6, "maskId");
  if (expandTo < 0 || expandTo > (1 << 20) || maskId < 0 || maskId > std::numeric_limits<int32_t>::max())
    raise(env, "ERR_ARGUMENT", "expandTo or maskId is out of range");
  const Expansion expansion{expandTo, static_cast<int32_t>(maskId), info[7].ToBoolean()};
  int64_t tokens = 0;
  check(env, shard.measure(block, expansion, &tokens));
  if (tokens > std::numeric_limits<int32_t>::max())
    raise(env, "ERR_DATA", "a batch of " + std::to_string(tokens) + " tokens; the limit is 2^31 - 1");
  auto ids = Napi::Int32Array::New(env, static_cast<size_t>(tokens));
  auto offsets = Napi::Float64Array::New(env, static_cast<size_t>(block.sequences()) + 1);
  auto keyCounts = Napi::Int32Array::New(env, static_cast<size_t>(block.sequences()));
  shard.collate(block, expansion, ids.Data(), offsets.Data(), keyCounts.Data());
  auto out = Napi::Object::New(env);
  out.Set("ids", ids);
  out.Set("offsets", offsets);
  out.Set("keyCounts", keyCounts);
  return out;
}

// (shard, rows, column, first, count, skip?)
Napi::Value shardLengths(const Napi::CallbackInfo& info) {
  const Shard& shard = shardAt(info);
  const ItemBlock block = blockAt(info);
  const Skiplist skiplist = info[5].IsUndefined() ? Skiplist{} : skiplistAt(info, 5);
  int64_t tokens = 0;
  check(info.Env(), shard.measure(block, {}, &tokens));
  auto lengths = Napi::Int32Array::New(info.Env(), static_cast<size_t>(block.sequences()));
  shard.lengths(block, skiplist, lengths.Data());
  return lengths;
}

Napi::Value shardGroups(const Napi::CallbackInfo& info) {
  const Shard& shard = shardAt(info);
  const ItemBlock block = blockAt(info);
  int64_t tokens = 0;
  check(info.Env(), shard.measure(block, {}, &tokens));
  auto groups = Napi::Int32Array::New(info.Env(), static_cast<size_t>(block.sequences()));
  shard.groups(block, groups.Data());
  return groups;
}

Napi::Value shardScores(const Napi::CallbackInfo& info) {
  const Shard& shard = shardAt(info);
  const ItemBlock block = blockAt(info);
  if (!shard.hasScores()) raise(info.Env(), "ERR_DATA", "the shard has no teacher scores");
  int64_t tokens = 0;
  check(info.Env(), shard.measure(block, {}, &tokens));
  auto scores = Napi::Float32Array::New(info.Env(), static_cast<size_t>(block.sequences()));
  shard.scores(block, scores.Data());
  return scores;
}

// (ids, offsets, skip) → { keep, offsets }
Napi::Value keepTokens(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto ids = arrayAt<Napi::Int32Array>(info, 0, napi_int32_array, "ids");
  const auto offsets = arrayAt<Napi::Float64Array>(info, 1, napi_float64_array, "offsets");
  const Skiplist skiplist = skiplistAt(info, 2);
  if (offsets.ElementLength() == 0)
    raise(env, "ERR_ARGUMENT", "offsets is empty; it has one entry more than sequences");
  const auto tokens = static_cast<int64_t>(ids.ElementLength());
  std::vector<int32_t> keep(static_cast<size_t>(tokens));
  auto keptOffsets = Napi::Float64Array::New(env, offsets.ElementLength());
  const int64_t kept = keepRows(ids.Data(), tokens, offsets.Data(), static_cast<int64_t>(offsets.ElementLength()) - 1,
                                skiplist, keep.data(), keptOffsets.Data());
  if (kept < 0) raise(env, "ERR_ARGUMENT", "offsets do not rise from 0 to the number of ids");
  auto rows = Napi::Int32Array::New(env, static_cast<size_t>(kept));
  std::copy_n(keep.data(), kept, rows.Data());
  auto out = Napi::Object::New(env);
  out.Set("keep", rows);
  out.Set("offsets", keptOffsets);
  return out;
}

}  // namespace

void initData(Napi::Env env, Napi::Object exports) {
  const auto set = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  set("shardOpen", shardOpen);
  set("shardInfo", shardInfo);
  set("shardClose", shardClose);
  set("shardCollate", shardCollate);
  set("shardLengths", shardLengths);
  set("shardGroups", shardGroups);
  set("shardScores", shardScores);
  set("keepTokens", keepTokens);
}

}  // namespace lateforge::binding
