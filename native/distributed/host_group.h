// The group of ranks: a thread of its own carries out collectives in the order they were issued, each as soon as the
// device's stream has produced its input, so that communication runs beside computation. Data go through the transport
// where the host can address the device's memory, over the backend's own (device_transport.h) where it cannot; all
// else, through the transport.
//
// Sums and maxima are taken in rank order whatever carries the data, so the same input gives the same bits on every
// rank and in every run. Every message is announced first, through the transport: ranks that disagree about what comes
// next are told apart instead of waiting for each other.
//
// Faults: a collective that takes longer than the deadline, ranks that disagree, an error of transport or channel, a
// stream that failed before its collective, or `fail` from outside make the group fail for good. A watchdog, a thread
// that waits for nothing else, then writes the record and, some seconds later (so that every living rank can write its
// own), ends the processes of the job.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "group.h"

namespace lateforge {

struct GroupStats {
  std::array<int64_t, kCollectives> calls{}, bytes{};  // bytes this rank sent to others, without announcements
  double busySeconds = 0;                              // the group's thread at work or waiting for other ranks
  double waitSeconds = 0;                              // streams that had nothing to do but wait for a collective
};

struct GroupSettings {
  double deadlineSeconds = 600;  // of one collective, from the moment this rank is ready for it
  double exchangeSeconds = 600;  // the same of `exchange`, in which ranks wait for what another does meanwhile
  double graceSeconds = 2;       // between a failure and the end of the processes
  int32_t exitCode = 9;
  std::string record{};  // file that is written on failure; "": none
};

struct GroupFailure {
  std::string reason;
  int32_t missing;  // the rank that is held responsible, or −1
};

class HostGroup final : public Group {
 public:
  // The transport is open.
  HostGroup(const Transport* transport, int32_t rank, int32_t size);
  ~HostGroup() override;

  int32_t rank() const override { return rank_; }
  int32_t size() const override { return size_; }
  bool reaches(const Backend* backend) const override { return backend->hostAddress || backend->deviceTransport; }
  int64_t workspace(const Backend* backend, const CollectiveCall& call) const override;
  uint64_t start(const Backend* backend, Stream* stream, const CollectiveCall& call) override;
  void wait(const Backend* backend, Stream* stream, uint64_t ticket) override;

  // Every rank's bytes, in rank order. `done` is called once, from the group's thread; error null when all went well.
  using Exchanged = std::function<void(std::vector<std::string> parts, const char* error)>;
  void exchange(std::string bytes, Exchanged done);

  void configure(const GroupSettings& settings);
  // Names where the program is (phase and step), for the record.
  void mark(const std::string& place);
  // Only the first failure counts.
  void fail(const std::string& reason, int32_t missing);
  std::optional<GroupFailure> failure();
  // Leaves in good order, once every rank has called it and everything issued is done. What is issued afterwards fails.
  // After a failure it waits for the watchdog to end the process.
  void close();
  // Gives up whatever is under way, without a record. What was issued fails.
  void stop();
  GroupStats stats();

 private:
  struct Job;
  struct Announcement;
  struct Waiting;
  // How the bytes of a collective go: through the transport; over the device's; the cards by which its channels are
  // opened.
  enum class Route : int32_t { host, device, handshake };
  struct OpenChannel {
    const DeviceTransport* deviceTransport;
    Stream* stream;
    DeviceChannel* channel;
  };
  struct Done {
    uint64_t sequence;
    Collective kind;
    int64_t bytes;
    double began, ended;
  };

  void work();
  void watch();
  // These six hold the mutex.
  void failNow(const char* reason, int32_t missing);
  bool refuse(Job& job);
  double deadlineOf(const Job& job) const;
  void failLate(const Job& job, const char* waitingFor, int32_t missing);
  void remember(const Job& job);
  std::string record() const;
  // These do not. They return false with a message, or with none when they were given up.
  bool perform(Job& job, std::string& error);
  bool findChannel(Job& job, std::string& error);
  void closeLinks();
  bool reduce(Job& job, std::string& error);
  bool reducePiece(Job& job, char* data, int64_t count, std::string& error);
  bool combine(Job& job, char* out, const char* parts, int64_t count, std::string& error);
  bool transfer(Job& job, std::vector<Slice>& send, std::vector<Slice>& receive, std::string& error);
  bool requireSame(Job& job, Route route, const std::vector<Slice>& send, const std::vector<Slice>& receive,
                   std::string& error);
  bool announce(Job& job, Route route, const std::vector<Slice>& send, std::vector<int64_t>& coming,
                std::string& error);
  bool move(Job& job, const std::vector<Slice>& send, const std::vector<Slice>& receive, std::string& error);
  static bool succeeded(int32_t status, const char* text, std::string& error);
  static const char* wordsOf(Route route);
  Stopped stopping() {
    return {[](void* self) { return static_cast<HostGroup*>(self)->giveUp(); }, this};
  }
  bool giveUp() const { return stopped_.load() || failed_.load() || late_.load(); }

  const Transport* transport_;
  const int32_t rank_, size_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::unordered_map<uint64_t, std::shared_ptr<Job>> waitable_;
  std::shared_ptr<Job> current_, failedJob_;  // under way; the first that the group failed at
  std::deque<Done> history_;
  GroupSettings settings_;
  GroupStats stats_;
  uint64_t issued_ = 0;
  std::string place_;
  GroupFailure failure_{"", -1};
  double failedAt_ = 0, finalizing_ = 0;
  bool closed_ = false, aborted_ = false;
  std::atomic<bool> stopped_{false}, failed_{false}, late_{false};  // set while the mutex is held

  // Of the group's thread. They outlive a transfer that was given up.
  std::vector<OpenChannel> channels_;
  std::vector<Announcement> announced_, heard_;
  std::vector<uint8_t> waiting_;
  std::thread worker_, watchdog_;
};

}  // namespace lateforge
