// Element types and the fixed-size description of a tensor that crosses the backend boundary.
#pragma once

#include <cstdint>

namespace lateforge {

enum class DType : int32_t { f32 = 0, f64 = 1, i32 = 2, i64 = 3, u8 = 4, u16 = 5, f16 = 6, bf16 = 7, i8 = 8 };

constexpr int64_t sizeOf(DType t) {
  switch (t) {
    case DType::u8:
    case DType::i8:
      return 1;
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f64:
    case DType::i64:
      return 8;
  }
  return 0;
}

constexpr const char* nameOf(DType t) {
  constexpr const char* kNames[] = {"float32", "float64", "int32",    "int64", "uint8",
                                    "uint16",  "float16", "bfloat16", "int8"};
  return kNames[static_cast<int>(t)];
}

constexpr bool isReal(DType t) { return t == DType::f32 || t == DType::f64 || t == DType::f16 || t == DType::bf16; }

// Sets of real types, as a backend says what an op takes.
constexpr uint8_t kF32 = 1, kF64 = 2, kF16 = 4, kBf16 = 8;
constexpr uint8_t bitOf(DType t) {
  return t == DType::f32 ? kF32 : t == DType::f64 ? kF64 : t == DType::f16 ? kF16 : t == DType::bf16 ? kBf16 : 0;
}

// What statistics, scores, losses and gradient sums of a tensor of type t are kept in.
constexpr DType accumulatorOf(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

constexpr int kMaxRank = 4;

// A contiguous row-major tensor as kernels see it. rank −1: the optional tensor is absent.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int32_t rank = -1;
  int64_t dims[kMaxRank] = {1, 1, 1, 1};
  int64_t longest = 0;  // of segments: rows of the longest sequence, so that a backend can size its work on the host

  bool present() const { return rank >= 0; }
  int64_t count() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  int64_t bytes() const { return count() * sizeOf(dtype); }
  int64_t rows() const { return dims[0]; }
  int64_t columns() const { return dims[1] * dims[2] * dims[3]; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace lateforge
