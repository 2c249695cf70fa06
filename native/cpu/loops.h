// How kernels spread work over the thread team: tasks of fixed size, so that no result depends on who runs what.
#pragma once

#include "../runtime/round.h"
#include "lanes.h"
#include "team.h"

namespace lateforge::cpu::LF_ISA {

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

// A part of an op's workspace for every thread that runs its tasks: so many threads as the team had when the op was
// issued. Should it have more by now, the others take no part; what a part holds before a task means nothing.
inline int64_t partSize(int64_t bytes) { return divideUp(bytes, 64) * 64; }
inline int64_t partsFor(int64_t tasks, int64_t bytes) {
  const int64_t threads = Team::instance().threads();
  return (tasks < threads ? tasks : threads) * partSize(bytes);
}

// f(task, memory) for every task, in any order, on the team. `memory` has `bytes` in all, `each` for a task.
template <class F>
inline void forTasksWithMemory(int64_t tasks, void* memory, int64_t bytes, int64_t each, F f) {
  const int64_t size = partSize(each), parts = bytes / size;
  Team::instance().parallel(tasks, static_cast<int>(parts < tasks ? parts : tasks),
                            [&](int64_t task, int slot) { f(task, static_cast<char*>(memory) + slot * size); });
}

}  // namespace lateforge::cpu::LF_ISA
