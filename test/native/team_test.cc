// The thread team of the CPU backend. Runs under ThreadSanitizer too.
#include "../../native/cpu/team.h"

#include <atomic>
#include <chrono>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

namespace lateforge::testing {
namespace {

using cpu::Team;

void team() {
  Team& team = Team::instance();
  for (int threads : {1, 2, 5}) {
    team.setThreads(threads);
    CHECK(team.threads() == threads, "%d threads after setThreads(%d)", team.threads(), threads);
    // Every task once, nested calls too, from several callers at once, many times over, with pauses that let it sleep.
    std::vector<std::thread> callers;
    std::atomic<int> wrong{0};
    for (int caller = 0; caller < 3; ++caller)
      callers.emplace_back([&] {
        for (int round = 0; round < 300; ++round) {
          std::vector<std::atomic<int>> ran(static_cast<size_t>(round % 17));
          team.parallel(static_cast<int64_t>(ran.size()),
                        [&](int64_t i) { team.parallel(3, [&](int64_t) { ++ran[static_cast<size_t>(i)]; }); });
          for (const std::atomic<int>& count : ran)
            if (count != 3) ++wrong;
          if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
      });
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0, "%d tasks did not run once with %d threads", wrong.load(), threads);
  }
}

// Tasks that run at the same time have different slots, fewer than asked for.
void slots() {
  Team& team = Team::instance();
  for (int threads : {1, 2, 5})
    for (int most : {1, 2, 3, 9}) {
      team.setThreads(threads);
      std::atomic<int> taken[9] = {}, wrong{0}, ran{0};
      team.parallel(200, most, [&](int64_t, int slot) {
        if (slot < 0 || slot >= most || slot >= threads || taken[slot].fetch_add(1) != 0) ++wrong;
        ++ran;
        if (slot >= 0 && slot < 9) --taken[slot];
      });
      CHECK(wrong == 0 && ran == 200, "%d of %d tasks in a wrong slot: %d threads, %d slots", wrong.load(), ran.load(),
            threads, most);
    }
}

// What a task throws reaches the caller, whoever ran it, once no task runs any more; the team works on.
void exceptions() {
  Team& team = Team::instance();
  for (int threads : {1, 2, 5}) {
    team.setThreads(threads);
    for (int round = 0; round < 200; ++round) {
      std::atomic<int> running{0}, ran{0};
      const int64_t bad = round % 40;
      std::string caught;
      try {
        team.parallel(40, [&](int64_t i) {
          ++running;
          ++ran;
          struct Leave {
            std::atomic<int>& count;
            ~Leave() { --count; }
          } leave{running};
          if (i == bad && round % 2) throw std::bad_alloc();
          if (i == bad) throw std::runtime_error("task " + std::to_string(i));
        });
      } catch (const std::exception& thrown) {
        caught = thrown.what();
      }
      CHECK(running == 0, "%d tasks run after the call with %d threads", running.load(), threads);
      CHECK(caught == (round % 2 ? std::string(std::bad_alloc().what()) : "task " + std::to_string(bad)),
            "task %d of 40: caught \"%s\"", static_cast<int>(bad), caught.c_str());
      // At least those of its thread's share up to it.
      int64_t first = 0;
      for (int i = 1; i < threads; ++i)
        if (40 * i / threads <= bad) first = 40 * i / threads;
      CHECK(ran > bad - first && ran <= 40, "%d tasks ran", ran.load());
    }
    std::atomic<int> ran{0};
    team.parallel(40, [&](int64_t) { ++ran; });
    CHECK(ran == 40, "%d of 40 tasks ran after exceptions", ran.load());
  }
}

// Callers of several environments and whoever sets the number of threads do not know of each other.
void resizing() {
  Team& team = Team::instance();
  std::atomic<bool> stop{false};
  std::atomic<int64_t> sums{0}, wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      for (int job = 0; job < 300; ++job) {
        std::atomic<int64_t> sum{0};
        team.parallel(64, [&](int64_t task) { sum += task; });
        wrong += sum != 64 * 63 / 2;
        ++sums;
        wrong += team.threads() < 1 || team.threads() > 4;
      }
    });
  std::thread setter([&] {
    for (int n = 0; !stop; ++n) team.setThreads(1 + n % 4);
  });
  for (std::thread& caller : callers) caller.join();
  stop = true;
  setter.join();
  CHECK(sums == 900 && wrong == 0, "%lld of %lld jobs went wrong", static_cast<long long>(wrong),
        static_cast<long long>(sums));
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  resizing();
  team();
  slots();
  exceptions();
  return finish("team");
}
