// MaxSim on the caller's own arrays, at once: nothing is copied, and the calling thread waits.
#include <cstring>
#include <new>

#include "../cpu/backend.h"
#include "../cpu/table.h"
#include "../runtime/guard.h"
#include "env.h"

namespace lateforge::binding {
namespace {

constexpr std::align_val_t kAlignment{64};  // what kernels expect

// One input of the op where the caller has it.
struct Argument {
  Meta meta;
  const void* data = nullptr;
};

Argument tokensAt(const Napi::CallbackInfo& info, size_t index, int64_t dim) {
  const Source source = sourceAt(info, index, DType::f32);
  if (source.count % dim) raise(info.Env(), "ERR_SHAPE", "data holds no whole number of vectors");
  return {Meta::of(DType::f32, {source.count / dim, dim}), source.data};
}

Argument indicesAt(const Napi::CallbackInfo& info, size_t index) {
  if (info[index].IsNull() || info[index].IsUndefined()) return {};
  auto values = std::make_shared<const std::vector<int64_t>>(offsetsAt(info, index));
  Meta meta = Meta::of(DType::i64, {static_cast<int64_t>(values->size())});
  meta.facts = std::make_shared<const IntFacts>(IntFacts{.values = values, .counts = nullptr});
  return {meta, values->data()};
}

// (queries, their offsets, documents, their offsets, dim, layout, pairs or null, clampNegatives) → Float32Array of
// scores
Napi::Value maxsimSync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int64_t dim = integerAt(info, 4, "dim", 1);
  const params::maxsim params{integerAt(info, 5, "layout"), 0, integerAt(info, 7, "clampNegatives")};
  const Argument inputs[] = {tokensAt(info, 0, dim), indicesAt(info, 1), tokensAt(info, 2, dim), indicesAt(info, 3),
                             indicesAt(info, 6)};
  Meta metas[std::size(inputs)];
  for (size_t i = 0; i < std::size(inputs); ++i) metas[i] = inputs[i].meta;
  Inferred inferred;
  check(env, infer(Op::maxsim, &params, metas, inferred));

  OpCall call{};
  call.op = Op::maxsim;
  std::memcpy(call.params, &params, sizeof params);
  for (size_t i = 0; i < std::size(inputs); ++i) call.in[i] = viewOf(metas[i], const_cast<void*>(inputs[i].data));
  auto scores = Napi::Float32Array::New(env, static_cast<size_t>(inferred.out[0].count()));
  call.out[0] = viewOf(inferred.out[0], scores.Data());
  char error[kErrorBytes] = "";
  const cpu::Isa* isa = cpu::chooseIsa(error);
  if (!isa) check(env, told("ERR_DEVICE", error));
  call.workspaceBytes = isa->floats->workspace(call);
  // Not the arena's: what lies free there may still be used by ops that wait in the stream, and this one waits for
  // none.
  if (call.workspaceBytes > cpu::floatBackend()->memoryLimit(0))
    raise(env, "ERR_OUT_OF_MEMORY",
          "maxsimSync: its workspace of " + std::to_string(call.workspaceBytes) + " bytes passes the memory limit");
  const auto release = [](void* data) { ::operator delete(data, kAlignment); };
  const std::unique_ptr<void, decltype(release)> workspace(
      ::operator new(static_cast<size_t>(call.workspaceBytes), kAlignment, std::nothrow), release);
  if (!workspace) raise(env, "ERR_OUT_OF_MEMORY", "maxsimSync: the host has no memory for its workspace");
  call.workspace = workspace.get();
  if (guarded(error, [&] { return isa->floats->op[static_cast<int>(Op::maxsim)](call, error); }))
    check(env, told("ERR_DEVICE", error));
  return scores;
}

}  // namespace

void initMaxSim(Napi::Object exports) { provide(exports, "maxsimSync", maxsimSync); }

}  // namespace lateforge::binding
