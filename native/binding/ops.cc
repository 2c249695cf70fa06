// One native function runs every op. JS writes handles, then params into the shared block (all doubles); results come
// back in the same place: per output handle, dtype, rank, four dimensions. No JS value is made per call.
#include <cmath>
#include <cstring>

#include "env.h"

namespace lateforge::binding {
namespace {

constexpr int kResultDoubles = 3 + kMaxRank;

Napi::Value call(const Napi::CallbackInfo& info) {
  Environment& self = environmentOf(info.Env());
  const Op op = static_cast<Op>(smallAt(info, 0, "op", 0, kOpCount - 1));
  const OpSpec& spec = specOf(op);
  double* cursor = self.block;
  Handle in[kMaxInputs] = {};
  const auto refuse = [&](const std::string& name, double value, const char* expected) {
    raise(info.Env(), "ERR_ARGUMENT",
          std::string(spec.name) + ": " + name + " is " + textOf(value) + ", expected " + expected);
  };
  for (size_t i = 0; i < spec.inputs.size(); ++i, ++cursor) {
    const std::optional<int64_t> handle = wholeNumber(*cursor);
    if (!handle || *handle < 0) refuse("input " + spec.inputs[i].name, *cursor, "the handle of a tensor");
    in[i] = static_cast<Handle>(*handle);
  }
  double params[kMaxParams] = {};
  for (size_t i = 0; i < spec.params.size(); ++i, ++cursor) {
    if (!spec.params[i].integer) {
      if (!std::isfinite(*cursor)) refuse(spec.params[i].name, *cursor, "a finite number");
      params[i] = *cursor;
    } else if (const std::optional<int64_t> whole = wholeNumber(*cursor)) {
      std::memcpy(&params[i], &*whole, sizeof *whole);
    } else {
      refuse(spec.params[i].name, *cursor, "a whole number");
    }
  }
  Handle out[kMaxOutputs] = {};
  check(info.Env(), self.runtime.run(op, in, params, spec.params.size() * 8, out));
  cursor = self.block;
  for (size_t i = 0; i < spec.outputs.size(); ++i, cursor += kResultDoubles) {
    cursor[0] = static_cast<double>(out[i]);
    if (!out[i]) continue;
    Meta meta;
    self.runtime.describe(out[i], meta);
    cursor[1] = static_cast<double>(meta.dtype);
    cursor[2] = meta.rank;
    for (int d = 0; d < kMaxRank; ++d) cursor[3 + d] = static_cast<double>(meta.dims[d]);
  }
  return info.Env().Undefined();
}

Napi::Array operands(Napi::Env env, const std::vector<Operand>& list) {
  auto array = Napi::Array::New(env);
  for (const Operand& operand : list) {
    auto object = Napi::Object::New(env);
    object.Set("name", operand.name);
    object.Set("optional", operand.optional);
    object.Set("accumulated", operand.accumulated);
    object.Set("overwritten", operand.overwritten);
    array.Set(array.Length(), object);
  }
  return array;
}

// The op list as data: what generates lib/tensor/ops.gen.ts and what the op suite loops over.
Napi::Value opList(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto list = Napi::Array::New(env);
  for (int i = 0; i < kOpCount; ++i) {
    const OpSpec& spec = specOf(static_cast<Op>(i));
    auto object = Napi::Object::New(env);
    object.Set("name", spec.name);
    object.Set("backward", spec.backward);
    object.Set("inputs", operands(env, spec.inputs));
    object.Set("outputs", operands(env, spec.outputs));
    auto params = Napi::Array::New(env);
    for (const Field& field : spec.params) {
      auto param = Napi::Object::New(env);
      param.Set("name", field.name);
      param.Set("integer", field.integer);
      params.Set(params.Length(), param);
    }
    object.Set("params", params);
    list.Set(list.Length(), object);
  }
  return list;
}

}  // namespace

void initOps(Napi::Object exports) {
  provide(exports, "call", call);
  provide(exports, "opList", opList);
}

}  // namespace lateforge::binding
