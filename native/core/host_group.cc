#include "host_group.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <limits>

#include "rank_sum.h"

namespace lateforge {
namespace {

constexpr size_t kRemembered = 64;
// Up to here a reduction is one exchange of everything, above it two exchanges of slices.
constexpr int64_t kSmallBytes = 64 << 10;
// Leaving the transport, once every rank has said that it is there.
constexpr double kFinalizeSeconds = 20;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char text[512];
  va_list list;
  va_start(list, pattern);
  std::vsnprintf(text, sizeof text, pattern, list);
  va_end(list);
  return text;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

std::string timeNow() {
  char text[32];
  const std::time_t seconds = std::time(nullptr);
  std::tm utc;
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
  return text;
}

std::string hostName() {
  char text[256] = "";
  gethostname(text, sizeof text - 1);
  return text;
}

// Written beside and renamed, so that a reader never sees half of it. A file system that hangs must not keep the
// processes alive, so this has a thread of its own.
void writeFile(const std::string& path, const std::string& text) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const std::string partial = path + ".part";
  std::FILE* file = std::fopen(partial.c_str(), "w");
  if (!file) return;  // nothing better is left to be done with it
  const bool whole = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) == 0 && whole) std::rename(partial.c_str(), path.c_str());
}

}  // namespace

// What a rank says before it sends: which collective, and how much of it is for you.
struct HostGroup::Announcement {
  uint64_t sequence;
  int32_t kind, reserved;
  int64_t bytes;
};

struct HostGroup::Job {
  uint64_t sequence;
  Collective kind;
  DType dtype = DType::u8;
  char* in = nullptr;
  char* out = nullptr;
  int64_t count = 0;
  std::vector<int64_t> send, receive;
  int32_t root = 0;
  std::string message;
  std::vector<std::string> messages;
  Exchanged exchanged;
  // Under the group's mutex.
  bool ready = false, finished = false;
  std::string streamError, error;
  std::vector<int32_t> waitingFor;  // ranks, when it was given up
  double began = 0;
  int64_t sent = 0;
};

HostGroup::HostGroup(const Transport* transport, int32_t rank, int32_t size)
    : transport_(transport), rank_(rank), size_(size), worker_([this] { work(); }), watchdog_([this] { watch(); }) {}

HostGroup::~HostGroup() {
  stop();
  worker_.join();
  watchdog_.join();
}

void HostGroup::stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

void HostGroup::configure(const GroupSettings& settings) {
  std::lock_guard lock(mutex_);
  settings_ = settings;
}

void HostGroup::mark(const std::string& place) {
  std::lock_guard lock(mutex_);
  place_ = place;
}

GroupStats HostGroup::stats() {
  std::lock_guard lock(mutex_);
  return stats_;
}

void HostGroup::fail(const std::string& reason, int32_t missing) {
  std::lock_guard lock(mutex_);
  failNow(reason, missing);
}

void HostGroup::failNow(const std::string& reason, int32_t missing) {
  if (failed_ || stopped_) return;
  failure_ = {reason, missing};
  failedAt_ = now();
  suspect_ = current_ ? current_ : jobs_.empty() ? nullptr : jobs_.front();
  failed_ = true;
  changed_.notify_all();
}

std::optional<GroupFailure> HostGroup::failure() {
  std::lock_guard lock(mutex_);
  return failed_ ? std::optional(failure_) : std::nullopt;
}

// The group's thread takes nothing up any more.
bool HostGroup::refuse(Job& job) {
  if (!closed_ && !stopped_) return false;
  job.finished = true;
  job.error = failed_ ? failure_.reason : "the group is closed";
  return true;
}

uint64_t HostGroup::start(const Backend* backend, Stream* stream, const CollectiveCall& call) {
  auto job = std::make_shared<Job>();
  job->kind = call.kind;
  job->dtype = call.dtype;
  job->in = static_cast<char*>(const_cast<void*>(call.in));
  job->out = static_cast<char*>(call.out);
  job->count = call.count;
  if (call.send) job->send.assign(call.send, call.send + size_);
  if (call.receive) job->receive.assign(call.receive, call.receive + size_);
  job->root = call.root;
  {
    std::lock_guard lock(mutex_);
    job->sequence = ++issued_;
    waitable_[job->sequence] = job;
    if (refuse(*job)) return job->sequence;
    jobs_.push_back(job);
  }
  struct Context {
    HostGroup* group;
    std::shared_ptr<Job> job;
  };
  backend->hostCall(
      stream,
      [](void* pointer, const char* streamError, char*) {
        const std::unique_ptr<Context> context(static_cast<Context*>(pointer));
        {
          std::lock_guard lock(context->group->mutex_);
          context->job->ready = true;
          if (streamError) context->job->streamError = streamError;
        }
        context->group->changed_.notify_all();
        return 0;
      },
      new Context{this, job});
  return job->sequence;
}

void HostGroup::wait(const Backend* backend, Stream* stream, uint64_t ticket) {
  struct Context {
    HostGroup* group;
    std::shared_ptr<Job> job;
  };
  auto context = std::make_unique<Context>();
  context->group = this;
  {
    std::lock_guard lock(mutex_);
    const auto found = waitable_.find(ticket);
    if (found == waitable_.end()) return;  // waited for before
    context->job = std::move(found->second);
    waitable_.erase(found);
  }
  backend->hostCall(
      stream,
      [](void* pointer, const char*, char* error) {
        const std::unique_ptr<Context> context(static_cast<Context*>(pointer));
        auto& [group, job] = *context;
        std::unique_lock lock(group->mutex_);
        const double began = now();
        group->changed_.wait(lock, [&] { return job->finished; });
        group->stats_.waitSeconds += now() - began;
        if (job->error.empty()) return 0;
        std::snprintf(error, kErrorBytes, "ERR_GROUP: %s", job->error.c_str());
        return 1;
      },
      context.release());
}

void HostGroup::exchange(std::string bytes, Exchanged done) {
  auto job = std::make_shared<Job>();
  job->kind = Collective::exchange;
  job->message = std::move(bytes);
  job->exchanged = std::move(done);
  job->ready = true;
  bool refused;
  {
    std::lock_guard lock(mutex_);
    job->sequence = ++issued_;
    refused = refuse(*job);
    if (!refused) jobs_.push_back(job);
  }
  changed_.notify_all();
  if (refused) job->exchanged({}, ("ERR_GROUP: " + job->error).c_str());
}

void HostGroup::close() {
  const auto job = std::make_shared<Job>();
  job->kind = Collective::exchange;
  job->ready = true;
  {
    std::unique_lock lock(mutex_);
    if (closed_ || stopped_) return;
    closed_ = true;
    job->sequence = ++issued_;
    jobs_.push_back(job);
    changed_.notify_all();
    changed_.wait(lock, [&] { return job->finished; });
    if (failed_) changed_.wait(lock, [&] { return aborted_; });  // the watchdog ends the processes
    if (failed_ || stopped_) return;
    finalizing_ = now();
  }
  transport_->close();
  stop();
}

void HostGroup::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopped_ || (!jobs_.empty() && (jobs_.front()->ready || failed_)); });
    if (jobs_.empty()) return;
    const std::shared_ptr<Job> job = jobs_.front();
    jobs_.pop_front();
    job->began = now();
    current_ = job;
    std::string error = job->streamError;
    lock.unlock();
    bool fine = false;
    if (!error.empty())
      error = "this rank's " + error;
    else if (!giveUp())
      fine = perform(*job, error);
    lock.lock();
    if (!fine && late_) {
      std::string names;
      for (const int32_t r : job->waitingFor) names += (names.empty() ? "rank " : ", rank ") + std::to_string(r);
      failNow(late(*job, names), job->waitingFor.size() == 1 ? job->waitingFor[0] : -1);
    } else if (!fine) {
      failNow(error, -1);
    }
    if (!fine) job->error = failed_ ? failure_.reason : "the group is closed";
    late_ = false;
    current_ = nullptr;
    const double ended = now();
    stats_.busySeconds += ended - job->began;
    ++stats_.calls[static_cast<int>(job->kind)];
    stats_.bytes[static_cast<int>(job->kind)] += job->sent;
    history_.push_back({job->sequence, job->kind, job->sent, job->began, ended});
    if (history_.size() > kRemembered) history_.pop_front();
    job->finished = true;
    changed_.notify_all();
    if (job->exchanged) {
      lock.unlock();
      job->exchanged(std::move(job->messages), fine ? nullptr : ("ERR_GROUP: " + job->error).c_str());
      lock.lock();
    }
  }
}

bool HostGroup::perform(Job& job, std::string& error) {
  const int64_t width = sizeOf(job.dtype);
  std::vector<Part> send(static_cast<size_t>(size_)), receive(static_cast<size_t>(size_));
  switch (job.kind) {
    case Collective::allReduceSum:
    case Collective::allReduceMax:
      return reduce(job, error);
    case Collective::allGather:
    case Collective::allToAll: {
      int64_t from = 0, to = 0;
      for (int32_t r = 0; r < size_; ++r) {
        const bool all = job.kind == Collective::allGather;
        send[r] = {job.in + (all ? 0 : from), (all ? job.count : job.send[r]) * width};
        receive[r] = {job.out + to, job.receive[r] * width};
        if (!all) from += send[r].bytes;
        to += receive[r].bytes;
      }
      return transfer(job, send, receive, error);
    }
    case Collective::broadcast: {
      for (int32_t r = 0; r < size_; ++r) {
        send[r] = {job.in, rank_ == job.root ? job.count * width : 0};
        receive[r] = {job.out, r == job.root ? job.count * width : 0};
      }
      return transfer(job, send, receive, error);
    }
    case Collective::exchange: {
      std::vector<int64_t> coming;
      for (Part& part : send) part = {job.message.data(), static_cast<int64_t>(job.message.size())};
      if (!announce(job, send, coming, error)) return false;
      job.messages.resize(static_cast<size_t>(size_));
      for (int32_t r = 0; r < size_; ++r) {
        job.messages[r].resize(static_cast<size_t>(coming[r]));
        receive[r] = {job.messages[r].data(), coming[r]};
      }
      job.messages[rank_] = job.message;
      job.sent += (size_ - 1) * send[0].bytes;
      return move(job, send, receive, error);
    }
  }
  return false;
}

bool HostGroup::reduce(Job& job, std::string& error) {
  const int64_t width = sizeOf(job.dtype);
  const bool small = job.count * width <= kSmallBytes;
  // Slice r is combined by rank r; a small tensor is one slice that everybody combines.
  const auto bound = [&](int64_t r) { return small ? (r > rank_ ? job.count : 0) : job.count * r / size_; };
  const int64_t first = bound(rank_), own = bound(rank_ + 1) - first;
  scratch_.resize(static_cast<size_t>(own * width * size_));
  std::vector<Part> send(static_cast<size_t>(size_)), receive(static_cast<size_t>(size_));
  for (int32_t r = 0; r < size_; ++r) {
    const int64_t from = small ? 0 : bound(r), to = small ? job.count : bound(r + 1);
    send[r] = {job.in + from * width, (to - from) * width};
    receive[r] = {scratch_.data() + r * own * width, own * width};
  }
  if (!transfer(job, send, receive, error)) return false;
  (job.dtype == DType::f64 ? reduceRanks<double> : reduceRanks<float>)(job.kind, job.in + first * width,
                                                                       scratch_.data(), own, size_);
  if (small) return true;
  for (int32_t r = 0; r < size_; ++r) {
    send[r] = {job.in + first * width, own * width};
    receive[r] = {job.in + bound(r) * width, (bound(r + 1) - bound(r)) * width};
  }
  return transfer(job, send, receive, error);
}

// The own part is copied here, the others go through the transport.
bool HostGroup::transfer(Job& job, std::vector<Part>& send, std::vector<Part>& receive, std::string& error) {
  std::vector<int64_t> coming;
  if (!announce(job, send, coming, error)) return false;
  for (int32_t r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    if (coming[r] != receive[r].bytes) {
      error = format(
          "collective %llu (%s): rank %d sends %lld bytes where this rank expects %lld; the ranks do not work on the "
          "same batch",
          static_cast<unsigned long long>(job.sequence), nameOf(job.kind), r, static_cast<long long>(coming[r]),
          static_cast<long long>(receive[r].bytes));
      return false;
    }
    job.sent += send[r].bytes;
  }
  if (send[rank_].data != receive[rank_].data && send[rank_].bytes)
    std::memmove(receive[rank_].data, send[rank_].data, static_cast<size_t>(receive[rank_].bytes));
  return move(job, send, receive, error);
}

bool HostGroup::announce(Job& job, const std::vector<Part>& send, std::vector<int64_t>& coming, std::string& error) {
  announced_.resize(static_cast<size_t>(size_));
  heard_.resize(static_cast<size_t>(size_));
  std::vector<Part> out(static_cast<size_t>(size_)), in(static_cast<size_t>(size_));
  for (int32_t r = 0; r < size_; ++r) {
    announced_[r] = {job.sequence, static_cast<int32_t>(job.kind), 0, send[r].bytes};
    out[r] = {&announced_[r], sizeof(Announcement)};
    in[r] = {&heard_[r], sizeof(Announcement)};
  }
  if (!move(job, out, in, error)) return false;
  coming.assign(static_cast<size_t>(size_), 0);
  for (int32_t r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    const Announcement& a = heard_[r];
    if (a.sequence != job.sequence || a.kind != static_cast<int32_t>(job.kind)) {
      const bool known = a.kind >= 0 && a.kind < kCollectives;
      error = format("the ranks disagree: this rank is at collective %llu (%s), rank %d at %llu (%s)",
                     static_cast<unsigned long long>(job.sequence), nameOf(job.kind), r,
                     static_cast<unsigned long long>(a.sequence),
                     known ? nameOf(static_cast<Collective>(a.kind)) : "unknown");
      return false;
    }
    coming[r] = a.bytes;
  }
  return true;
}

bool HostGroup::move(Job& job, const std::vector<Part>& send, const std::vector<Part>& receive, std::string& error) {
  char text[kTransportErrorBytes] = "";
  waiting_.assign(static_cast<size_t>(size_), 0);
  const int32_t status = transport_->exchange(
      send.data(), receive.data(), [](void* self) { return static_cast<HostGroup*>(self)->giveUp(); }, this,
      waiting_.data(), text);
  if (status == 0) return true;
  if (status == 1) error = std::string(transport_->name) + ": " + text;
  std::lock_guard lock(mutex_);
  for (int32_t r = 0; r < size_; ++r)
    if (waiting_[r]) job.waitingFor.push_back(r);
  return false;
}

void HostGroup::watch() {
  std::unique_lock lock(mutex_);
  const auto tick = std::chrono::milliseconds(200);
  while (!stopped_ && !failed_) {
    changed_.wait_for(lock, tick, [&] { return stopped_ || failed_; });
    if (finalizing_ > 0 && now() - finalizing_ > kFinalizeSeconds) failNow("MPI does not let this rank go", -1);
    const std::shared_ptr<Job> job = current_;
    if (!job || now() - job->began < deadlineOf(*job)) continue;
    late_ = true;  // the group's thread gives up, and knows which ranks it waits for; should it be stuck, this does
    changed_.wait_for(lock, tick, [&] { return failed_ || stopped_ || current_ != job; });
    if (current_ == job) failNow(late(*job, ""), -1);
  }
  if (!failed_) return;
  changed_.wait_for(lock, tick, [&] { return !current_; });  // it may still learn which ranks it waits for
  if (!settings_.record.empty()) std::thread(writeFile, settings_.record, record()).detach();
  const GroupSettings settings = settings_;
  lock.unlock();
  std::this_thread::sleep_for(std::chrono::duration<double>(settings.graceSeconds));
  transport_->abort(settings.exitCode);
  lock.lock();
  aborted_ = true;  // only where a test's transport returns
  changed_.notify_all();
}

double HostGroup::deadlineOf(const Job& job) const {
  if (job.kind != Collective::exchange) return settings_.deadlineSeconds;
  // The last one, before a rank leaves: others may have more to do before they do.
  return job.exchanged ? settings_.exchangeSeconds : std::numeric_limits<double>::infinity();
}

std::string HostGroup::late(const Job& job, const std::string& waitingFor) const {
  return format("collective %llu (%s) did not finish within %g s%s%s", static_cast<unsigned long long>(job.sequence),
                nameOf(job.kind), deadlineOf(job), waitingFor.empty() ? "" : "; it waited for ", waitingFor.c_str());
}

std::string HostGroup::record() const {
  std::string text = format("{\n  \"rank\": %d,\n  \"ranks\": %d,\n  \"host\": ", rank_, size_) + quoted(hostName());
  text += ",\n  \"time\": " + quoted(timeNow()) + ",\n  \"reason\": " + quoted(failure_.reason);
  text += ",\n  \"missing\": " + (failure_.missing < 0 ? "null" : std::to_string(failure_.missing));
  text += ",\n  \"place\": " + quoted(place_) + ",\n  \"collective\": ";
  if (suspect_) {
    const bool begun = suspect_->began > 0;
    text += format("{ \"sequence\": %llu, \"kind\": \"%s\", \"begun\": %s, \"seconds\": %.3f, \"waitingFor\": [",
                   static_cast<unsigned long long>(suspect_->sequence), nameOf(suspect_->kind),
                   begun ? "true" : "false", begun ? std::max(0.0, failedAt_ - suspect_->began) : 0.0);
    for (size_t i = 0; i < suspect_->waitingFor.size(); ++i)
      text += (i ? ", " : "") + std::to_string(suspect_->waitingFor[i]);
    text += "] }";
  } else {
    text += "null";
  }
  text += ",\n  \"recent\": [";
  for (size_t i = 0; i < history_.size(); ++i)
    text += format(
        "%s\n    { \"sequence\": %llu, \"kind\": \"%s\", \"bytes\": %lld, \"secondsAgo\": %.3f, \"took\": %.3f }",
        i ? "," : "", static_cast<unsigned long long>(history_[i].sequence), nameOf(history_[i].kind),
        static_cast<long long>(history_[i].bytes), failedAt_ - history_[i].ended,
        history_[i].ended - history_[i].began);
  return text + "\n  ]\n}\n";
}

}  // namespace lateforge
