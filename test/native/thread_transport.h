// A transport between threads instead of processes: a table of mailboxes. For tests of the group of ranks.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "../../native/distributed/group.h"

namespace lateforge {

constexpr int kMostRanks = 8;

struct Hub {
  std::mutex mutex;
  std::condition_variable changed;
  int ranks = 3;
  std::deque<std::string> boxes[kMostRanks][kMostRanks];  // [from][to]
  std::atomic<int> aborts{0}, closes{0}, code{0};
  void reset() {
    for (auto& row : boxes)
      for (auto& box : row) box.clear();
    aborts = closes = code = 0;
  }
};
inline Hub hub;

template <int rank>
int32_t exchangeByThreads(const Slice* send, const Slice* receive, bool (*stopped)(void*), void* context,
                          uint8_t* waiting, char*) {
  std::unique_lock lock(hub.mutex);
  for (int r = 0; r < hub.ranks; ++r)
    if (r != rank && send[r].bytes)
      hub.boxes[rank][r].emplace_back(static_cast<char*>(send[r].data), static_cast<size_t>(send[r].bytes));
  hub.changed.notify_all();
  std::vector<int64_t> left(static_cast<size_t>(hub.ranks));
  for (int r = 0; r < hub.ranks; ++r) left[r] = r == rank ? 0 : receive[r].bytes;
  for (;;) {
    bool done = true;
    for (int r = 0; r < hub.ranks; ++r) {
      auto& box = hub.boxes[r][rank];
      if (left[r] && !box.empty()) {
        std::memcpy(receive[r].data, box.front().data(), std::min<size_t>(box.front().size(), left[r]));
        box.pop_front();
        left[r] = 0;
      }
      done &= left[r] == 0;
    }
    if (done) return 0;
    lock.unlock();
    const bool stop = stopped(context);
    lock.lock();
    if (stop) break;
    hub.changed.wait_for(lock, std::chrono::milliseconds(1));
  }
  for (int r = 0; r < hub.ranks; ++r) waiting[r] = left[r] > 0;
  return 2;
}

template <int rank>
constexpr Transport kThreadTransport = {kTransportAbi,
                                        "threads",
                                        nullptr,
                                        exchangeByThreads<rank>,
                                        [] { ++hub.closes; },
                                        [](int32_t code) {
                                          ++hub.aborts;
                                          hub.code = code;
                                        }};

inline const Transport* transportOf(int rank) {
  constexpr const Transport* kAll[kMostRanks] = {&kThreadTransport<0>, &kThreadTransport<1>, &kThreadTransport<2>,
                                                 &kThreadTransport<3>, &kThreadTransport<4>, &kThreadTransport<5>,
                                                 &kThreadTransport<6>, &kThreadTransport<7>};
  return kAll[rank];
}

}  // namespace lateforge
