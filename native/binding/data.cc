// Shards for JavaScript: small integer handles of one environment, typed arrays in and out.
#include <cstring>
#include <limits>
#include <new>
#include <optional>

#include "env.h"

namespace lateforge::binding {
namespace {

template <typename Array>
Array arrayAt(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type, const char* name) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != type)
    raise(info.Env(), "ERR_ARGUMENT", std::string(name) + " is a typed array of the wrong kind");
  return info[index].As<Array>();
}

std::shared_ptr<const Shard> shardAt(const Napi::CallbackInfo& info) {
  const auto& shards = environmentOf(info.Env()).shards;
  const auto found = shards.find(integerAt(info, 0, "shard"));
  if (found == shards.end()) raise(info.Env(), "ERR_DISPOSED", "the shard was closed");
  return found->second;
}

// A native array that becomes a JavaScript one, without a copy where that is allowed.
template <typename T>
struct Numbers {
  std::unique_ptr<T[]> data;
  size_t count = 0;

  T* allocate(int64_t size) {
    count = static_cast<size_t>(size);
    data = std::make_unique_for_overwrite<T[]>(count);
    return data.get();
  }
  Napi::Value give(Napi::Env env) { return Napi::TypedArrayOf<T>::New(env, count, buffer(env), 0); }

 private:
  Napi::ArrayBuffer buffer(Napi::Env env) {
    const size_t bytes = count * sizeof(T);
    if (environmentOf(env).externalBuffers) {
      napi_value value;
      const napi_status status = napi_create_external_arraybuffer(
          env, data.get(), bytes, [](napi_env, void* numbers, void*) { delete[] static_cast<T*>(numbers); }, nullptr,
          &value);
      // After a failure inside V8 the finalizer has been called as well.
      if (status == napi_ok || status == napi_generic_failure) static_cast<void>(data.release());
      if (status == napi_ok) return Napi::ArrayBuffer(env, value);
      if (status != napi_no_external_buffers_allowed) throw Napi::Error::New(env);
      environmentOf(env).externalBuffers = false;
    }
    auto copy = Napi::ArrayBuffer::New(env, bytes);
    if (bytes) std::memcpy(copy.Data(), data.get(), bytes);
    data = nullptr;
    return copy;
  }
};

// Work on Node's thread pool, for a promise: the event loop waits neither for the disk nor for a large batch.
class Job : public Napi::AsyncWorker {
 public:
  // Every failure is a rejection, that of the arguments too.
  template <typename Kind>
  static Napi::Value start(const Napi::CallbackInfo& info) {
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    try {
      auto job = typed(info.Env(), [&] { return std::make_unique<Kind>(info); });
      job->deferred_ = deferred;
      job.release()->Queue();  // deletes itself
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    }
    return deferred.Promise();
  }

 protected:
  using Napi::AsyncWorker::AsyncWorker;
  virtual Status work() = 0;
  virtual Napi::Value result(Napi::Env env) = 0;

 private:
  void Execute() override {
    try {
      status_ = work();
    } catch (const std::bad_alloc&) {
      status_ = Status::error("ERR_OUT_OF_MEMORY", "there is no memory for a batch");
    } catch (const std::exception& thrown) {
      status_ = Status::error("ERR_DATA", "%s", thrown.what());
    }
  }
  void OnOK() override {
    try {
      check(Env(), status_);
      deferred_->Resolve(typed(Env(), [&] { return result(Env()); }));
    } catch (const Napi::Error& error) {
      deferred_->Reject(error.Value());
    }
  }

  Status status_;
  std::optional<Napi::Promise::Deferred> deferred_;
};

// (path, verify) → shard
class Open final : public Job {
 public:
  explicit Open(const Napi::CallbackInfo& info)
      : Job(info.Env()), path_(stringAt(info, 0, "path")), verify_(info[1].ToBoolean()) {}

 private:
  Status work() override { return Shard::open(path_, verify_, &shard_); }
  Napi::Value result(Napi::Env env) override {
    Environment& self = environmentOf(env);
    const int64_t handle = ++self.lastShard;
    self.shards.emplace(handle, std::move(shard_));
    return Napi::Number::New(env, static_cast<double>(handle));
  }

  const std::string path_;
  const bool verify_;
  std::unique_ptr<Shard> shard_;
};

// Items of rows. The arguments are copies, and the shard stays mapped until the read is over.
class Read : public Job {
 public:
  // (shard, rows, column, most, …), where most may be { most, sample, seed, step, dropAbove }
  explicit Read(const Napi::CallbackInfo& info) : Job(info.Env()), shard(shardAt(info)) {
    const auto array = arrayAt<Napi::Float64Array>(info, 1, napi_float64_array, "rows");
    rows_.assign(array.Data(), array.Data() + array.ElementLength());
    const int64_t column = integerAt(info, 2, "column", 0, 1);  // query or documents
    block.rows = rows_.data();
    block.rowCount = static_cast<int64_t>(rows_.size());
    block.column = static_cast<ShardColumn>(column);
    if (!info[3].IsObject()) {
      block.most = integerAt(info, 3, "most", 1);
      return;
    }
    const auto given = info[3].As<Napi::Object>();
    const auto field = [&](const char* name, int64_t least, int64_t most = kLargestWhole) {
      const std::optional<int64_t> value = wholeNumber(given.Get(name));
      if (!value || *value < least || *value > most)
        raise(info.Env(), "ERR_ARGUMENT",
              std::string(name) + " of a choice must be a whole number from " + std::to_string(least) + " on");
      return *value;
    };
    block.most = field("most", 1);
    const Napi::Value above = given.Get("dropAbove");
    const double dropAbove = above.IsNumber() ? above.As<Napi::Number>().DoubleValue() : -1;
    if (!(dropAbove >= 0 && dropAbove <= 1e30))
      raise(info.Env(), "ERR_ARGUMENT", "dropAbove of a choice must be a number from 0 on");
    block.choice = {field("sample", 1), static_cast<uint64_t>(field("seed", 0)),
                    static_cast<uint32_t>(field("step", 0, UINT32_MAX)), dropAbove};
  }

 protected:
  // The skiplist at `index`, or an empty one.
  Skiplist skiplistAt(const Napi::CallbackInfo& info, size_t index) {
    if (info[index].IsUndefined()) return {};
    const auto skip = arrayAt<Napi::Uint8Array>(info, index, napi_uint8_array, "skip");
    skip_.assign(skip.Data(), skip.Data() + skip.ElementLength());
    return {skip_.data(), static_cast<int64_t>(skip_.size())};
  }

  const std::shared_ptr<const Shard> shard;
  ItemBlock block{};

 private:
  std::vector<double> rows_;
  std::vector<uint8_t> skip_;
};

Napi::Value shardInfo(const Napi::CallbackInfo& info) {
  const auto shard = shardAt(info);
  auto out = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, int64_t value) { out.Set(name, static_cast<double>(value)); };
  set("rows", shard->rows());
  set("items", shard->items());
  set("tokens", shard->tokens());
  set("vocabulary", shard->vocabulary());
  set("minDocuments", shard->minDocuments());
  set("maxDocuments", shard->maxDocuments());
  out.Set("scores", shard->hasScores());
  return out;
}

Napi::Value shardClose(const Napi::CallbackInfo& info) {
  const bool open = environmentOf(info.Env()).shards.erase(integerAt(info, 0, "shard")) == 1;
  return Napi::Boolean::New(info.Env(), open);
}

// (…, expandTo, maskId, attend, skip?) → { ids, offsets, keyLengths, kept: { keep, offsets } | null }
class Collate final : public Read {
 public:
  explicit Collate(const Napi::CallbackInfo& info) : Read(info), skiplist_(skiplistAt(info, 7)) {
    expansion_ = {integerAt(info, 4, "expandTo", 0, 1 << 20), smallAt(info, 5, "maskId", 0), info[6].ToBoolean()};
  }

 private:
  Status work() override {
    BlockSize size;
    LF_TRY(shard->measure(block, expansion_, &size));
    const auto [sequences, tokens] = size;
    LF_REQUIRE(tokens <= std::numeric_limits<int32_t>::max(), "ERR_DATA",
               "a batch of %lld tokens; the limit is 2^31 - 1", static_cast<long long>(tokens));
    int32_t* ids = ids_.allocate(tokens);
    double* offsets = offsets_.allocate(sequences + 1);
    shard->collate(block, expansion_, ids, offsets, keyLengths_.allocate(sequences));
    if (skiplist_.size == 0) return Status::fine();
    double* keptOffsets = keptOffsets_.allocate(sequences + 1);
    // Nearly all tokens stay: cut short, not copied.
    keep_.count =
        static_cast<size_t>(keepRows(ids, offsets, sequences, skiplist_, keep_.allocate(tokens), keptOffsets));
    return Status::fine();
  }
  Napi::Value result(Napi::Env env) override {
    auto out = Napi::Object::New(env);
    out.Set("ids", ids_.give(env));
    out.Set("offsets", offsets_.give(env));
    out.Set("keyLengths", keyLengths_.give(env));
    out.Set("kept", env.Null());
    if (skiplist_.size > 0) {
      auto kept = Napi::Object::New(env);
      kept.Set("keep", keep_.give(env));
      kept.Set("offsets", keptOffsets_.give(env));
      out.Set("kept", kept);
    }
    return out;
  }

  const Skiplist skiplist_;
  Expansion expansion_;
  Numbers<int32_t> ids_, keyLengths_, keep_;
  Numbers<double> offsets_, keptOffsets_;
};

// (…, skip?) → Int32Array
class Lengths final : public Read {
 public:
  explicit Lengths(const Napi::CallbackInfo& info) : Read(info), skiplist_(skiplistAt(info, 4)) {}

 private:
  Status work() override {
    BlockSize size;
    LF_TRY(shard->measure(block, {}, &size));
    shard->lengths(block, skiplist_, lengths_.allocate(size.sequences));
    return Status::fine();
  }
  Napi::Value result(Napi::Env env) override { return lengths_.give(env); }

  const Skiplist skiplist_;
  Numbers<int32_t> lengths_;
};

// (…) → Int32Array: what the shard says of each item, or of each row
template <void (Shard::*kWrite)(const ItemBlock&, int32_t*) const, bool kOfRows = false>
class Integers final : public Read {
 public:
  using Read::Read;

 private:
  Status work() override {
    BlockSize size;
    LF_TRY(shard->measure(block, {}, &size));
    ((*shard).*kWrite)(block, values_.allocate(kOfRows ? block.rowCount : size.sequences));
    return Status::fine();
  }
  Napi::Value result(Napi::Env env) override { return values_.give(env); }

  Numbers<int32_t> values_;
};

// (…) → Float32Array
class Scores final : public Read {
 public:
  using Read::Read;

 private:
  Status work() override {
    LF_REQUIRE(shard->hasScores(), "ERR_DATA", "the shard has no teacher scores");
    BlockSize size;
    LF_TRY(shard->measure(block, {}, &size));
    shard->scores(block, scores_.allocate(size.sequences));
    return Status::fine();
  }
  Napi::Value result(Napi::Env env) override { return scores_.give(env); }

  Numbers<float> scores_;
};

}  // namespace

void initData(Napi::Object exports) {
  // For tests: as where V8 forbids ArrayBuffers on memory of others (its sandbox, Electron).
  provide(exports, "forbidExternalBuffers", [](const Napi::CallbackInfo& info) -> Napi::Value {
    environmentOf(info.Env()).externalBuffers = false;
    return info.Env().Undefined();
  });
  provide(exports, "shardOpen", Job::start<Open>);
  provide(exports, "shardInfo", shardInfo);
  provide(exports, "shardClose", shardClose);
  provide(exports, "shardCollate", Job::start<Collate>);
  provide(exports, "shardCounts", Job::start<Integers<&Shard::counts, true>>);
  provide(exports, "shardLengths", Job::start<Lengths>);
  provide(exports, "shardGroups", Job::start<Integers<&Shard::groups>>);
  provide(exports, "shardPlaces", Job::start<Integers<&Shard::places>>);
  provide(exports, "shardScores", Job::start<Scores>);
}

}  // namespace lateforge::binding
