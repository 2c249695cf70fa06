// Tensors: create, write, view, read, dispose. Reads and events are the only promises.
#include <cstring>
#include <string>

#include "env.h"

namespace lateforge::binding {
namespace {

struct ArrayType {
  napi_typedarray_type type;
  DType dtype;
};

constexpr ArrayType kArrayTypes[] = {
    {napi_float32_array, DType::f32},  {napi_float64_array, DType::f64}, {napi_int32_array, DType::i32},
    {napi_bigint64_array, DType::i64}, {napi_uint8_array, DType::u8},    {napi_uint16_array, DType::u16},
    {napi_int8_array, DType::i8},
};

napi_typedarray_type arrayTypeOf(DType dtype) {
  for (const ArrayType& t : kArrayTypes)
    if (t.dtype == dtype) return t.type;
  return napi_uint16_array;  // half-precision bits
}

}  // namespace

Source sourceAt(const Napi::CallbackInfo& info, size_t index, DType wanted) {
  if (!info[index].IsTypedArray()) raise(info.Env(), "ERR_ARGUMENT", "data must be a typed array");
  // Not through Napi::TypedArray: that asks for the ArrayBuffer, which an array on shared memory does not have.
  napi_typedarray_type type;
  size_t count;
  void* data;
  if (napi_get_typedarray_info(info.Env(), info[index], &type, &count, &data, nullptr, nullptr) != napi_ok)
    raise(info.Env(), "ERR_ARGUMENT", "data is a typed array that cannot be read");
  if (type != arrayTypeOf(wanted)) raise(info.Env(), "ERR_DTYPE", std::string("data does not match ") + nameOf(wanted));
  return {data, wanted, static_cast<int64_t>(count)};
}

std::vector<int64_t> offsetsAt(const Napi::CallbackInfo& info, size_t index) {
  const Source source = sourceAt(info, index, DType::f64);
  std::vector<int64_t> offsets(static_cast<size_t>(source.count));
  const double* values = static_cast<const double*>(source.data);
  for (size_t i = 0; i < offsets.size(); ++i) {
    const std::optional<int64_t> offset = wholeNumber(values[i]);
    if (!offset || *offset < 0)
      raise(info.Env(), "ERR_ARGUMENT",
            "offset " + std::to_string(i) + " is " + textOf(values[i]) + ", expected a whole number, not negative");
    offsets[i] = *offset;
  }
  return offsets;
}

namespace {

Meta metaAt(const Napi::CallbackInfo& info, DType dtype, size_t dimsIndex) {
  Meta meta;
  meta.dtype = dtype;
  if (!info[dimsIndex].IsArray()) raise(info.Env(), "ERR_SHAPE", "a shape must be an array of dimensions");
  const auto dims = info[dimsIndex].As<Napi::Array>();
  if (dims.Length() > kMaxRank) raise(info.Env(), "ERR_SHAPE", "at most 4 dimensions");
  meta.rank = static_cast<int32_t>(dims.Length());
  for (uint32_t i = 0; i < dims.Length(); ++i) {
    const std::optional<int64_t> d = wholeNumber(dims.Get(i));
    if (!d || *d < 0) raise(info.Env(), "ERR_SHAPE", "a dimension must be a non-negative integer");
    meta.dims[i] = *d;
  }
  if (!meta.countable()) raise(info.Env(), "ERR_SHAPE", meta.text() + " has more elements than can be counted");
  return meta;
}

// (device, dtype, dims, data?) → handle
Napi::Value create(const Napi::CallbackInfo& info) {
  Environment& self = environmentOf(info.Env());
  const int64_t dtype = integerAt(info, 1, "dtype");
  if (dtype < 0 || dtype > static_cast<int64_t>(DType::i8))
    raise(info.Env(), "ERR_DTYPE", "the element type is unknown");
  const Meta meta = metaAt(info, static_cast<DType>(dtype), 2);
  const void* data = nullptr;
  if (!info[3].IsUndefined()) {
    const Source source = sourceAt(info, 3, meta.dtype);
    if (source.count != meta.count())
      raise(info.Env(), "ERR_SHAPE",
            meta.text() + " needs " + std::to_string(meta.count()) + " elements, got " + std::to_string(source.count));
    data = source.data ? source.data : "";  // an empty array has no address
  }
  Handle handle;
  check(info.Env(), self.runtime.create(deviceIdAt(info), meta, data, handle));
  return Napi::Number::New(info.Env(), static_cast<double>(handle));
}

// (device, path, offset in bytes, dtype, dims) → handle
Napi::Value map(const Napi::CallbackInfo& info) {
  const auto dtype = static_cast<DType>(smallAt(info, 3, "dtype", 0, static_cast<int32_t>(DType::i8)));
  Handle handle;
  check(info.Env(), environmentOf(info.Env())
                        .runtime.map(deviceIdAt(info), stringAt(info, 1, "path"), integerAt(info, 2, "offset", 0),
                                     metaAt(info, dtype, 4), handle));
  return Napi::Number::New(info.Env(), static_cast<double>(handle));
}

// (device, offsets as Float64Array) → handle of an int64 tensor
Napi::Value createSegments(const Napi::CallbackInfo& info) {
  Environment& self = environmentOf(info.Env());
  const std::vector<int64_t> offsets = offsetsAt(info, 1);
  const Meta meta = Meta::of(DType::i64, {static_cast<int64_t>(offsets.size())});
  Handle handle;
  check(info.Env(), self.runtime.create(deviceIdAt(info), meta,
                                        offsets.empty() ? "" : static_cast<const void*>(offsets.data()), handle));
  return Napi::Number::New(info.Env(), static_cast<double>(handle));
}

// (handle, data)
Napi::Value write(const Napi::CallbackInfo& info) {
  Environment& self = environmentOf(info.Env());
  Meta meta;
  check(info.Env(), self.runtime.describe(handleAt(info, 0), meta));
  const Source source = sourceAt(info, 1, meta.dtype);
  check(info.Env(), self.runtime.write(handleAt(info, 0), source.dtype, source.data, source.count));
  return info.Env().Undefined();
}

// (handle, offset in elements, dims) → handle
Napi::Value view(const Napi::CallbackInfo& info) {
  Environment& self = environmentOf(info.Env());
  Handle result;
  Meta source;
  check(info.Env(), self.runtime.describe(handleAt(info, 0), source));
  const Meta shape = metaAt(info, source.dtype, 2);
  check(info.Env(), self.runtime.view(handleAt(info, 0), integerAt(info, 1, "offset"), shape, result));
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

Napi::Value dispose(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), environmentOf(info.Env()).runtime.dispose(handleAt(info, 0)));
}

// (handle) → Promise<typed array>
Napi::Value read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Environment& self = environmentOf(env);
  Meta meta;
  check(env, self.runtime.describe(handleAt(info, 0), meta));
  const size_t count = static_cast<size_t>(meta.count());
  auto buffer = Napi::ArrayBuffer::New(env, static_cast<size_t>(meta.bytes()));
  napi_value array;
  if (napi_create_typedarray(env, arrayTypeOf(meta.dtype), count, buffer, 0, &array) != napi_ok)
    throw Napi::Error::New(env);
  auto waiter = std::make_unique<Waiter>(&self);
  waiter->result = Napi::Reference<Napi::Value>::New(Napi::Value(env, array), 1);
  const Napi::Promise promise = waiter->deferred.Promise();
  check(env, self.runtime.read(handleAt(info, 0), buffer.Data(), finished, waiter.get()));
  static_cast<void>(waiter.release());  // `finished` has it
  return promise;
}

// (device) → Promise<void>, settled when everything issued so far has run
Napi::Value event(const Napi::CallbackInfo& info) {
  Device& device = deviceAt(info);
  auto waiter = std::make_unique<Waiter>(&environmentOf(info.Env()));
  const Napi::Promise promise = waiter->deferred.Promise();
  device.backend->download(device.stream, nullptr, nullptr, 0, finished, waiter.release());
  return promise;
}

// (device) → Promise<Float64Array of one>: milliseconds on the device's clock since the call before; null: it has none
Napi::Value elapsed(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Device& device = deviceAt(info);
  if (!device.backend->elapsed) return env.Null();
  auto time = Napi::Float64Array::New(env, 1);
  auto waiter = std::make_unique<Waiter>(&environmentOf(env));
  waiter->result = Napi::Reference<Napi::Value>::New(time, 1);
  const Napi::Promise promise = waiter->deferred.Promise();
  device.backend->elapsed(device.stream, time.Data(), finished, waiter.release());
  return promise;
}

// (device) → Promise<void>; rejects with the first error, after which the stream is usable again
Napi::Value synchronize(const Napi::CallbackInfo& info) {
  Device& device = deviceAt(info);
  auto waiter = std::make_unique<Waiter>(&environmentOf(info.Env()));
  const Napi::Promise promise = waiter->deferred.Promise();
  device.backend->synchronize(device.stream, finished, waiter.release());
  return promise;
}

}  // namespace

void initTensors(Napi::Object exports) {
  provide(exports, "create", create);
  provide(exports, "map", map);
  provide(exports, "createSegments", createSegments);
  provide(exports, "write", write);
  provide(exports, "view", view);
  provide(exports, "dispose", dispose);
  provide(exports, "read", read);
  provide(exports, "event", event);
  provide(exports, "elapsed", elapsed);
  provide(exports, "synchronize", synchronize);
}

}  // namespace lateforge::binding
