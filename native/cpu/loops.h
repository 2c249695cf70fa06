// How kernels spread work over the thread team: tasks of fixed size, so that no result depends on who runs what.
#pragma once

#include "lanes.h"
#include "team.h"

namespace lateforge::cpu::LF_ISA {

inline int64_t divideUp(int64_t n, int64_t by) { return (n + by - 1) / by; }

// f(task) for every task, in any order, on the team.
template <class F>
inline void forTasks(int64_t tasks, F f) {
  Team::instance().parallel(tasks, f);
}

// f(begin, end) on blocks of `size`.
template <class F>
inline void forBlocks(int64_t count, int64_t size, F f) {
  forTasks(divideUp(count, size), [&](int64_t i) { f(i * size, (i + 1) * size < count ? (i + 1) * size : count); });
}

// f(offset, lanes) over [0, count): whole vectors, then the rest.
template <class T, class F>
inline void forLanes(int64_t count, F f) {
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) f(i, std::integral_constant<int64_t, kLanes<T>>());
  if (i < count) f(i, count - i);
}

// Elements of an element-wise task, and rows of a row-wise one: about 32 KiB of floats.
constexpr int64_t kElementBlock = 8192;
inline int64_t rowBlock(int64_t columns) {
  return columns >= kElementBlock ? 1 : kElementBlock / (columns > 0 ? columns : 1);
}

// Uninitialised memory for one task.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<T*>(__builtin_malloc(static_cast<size_t>(count) * sizeof(T) + 64))) {}
  ~Scratch() { __builtin_free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  // 64-byte aligned.
  T* get() const { return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(data_) + 63) & ~uintptr_t{63}); }

 private:
  T* data_;
};

}  // namespace lateforge::cpu::LF_ISA
