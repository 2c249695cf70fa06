#include "host_group.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>

#include "../platform/platform.h"
#include "host_job.h"

namespace lateforge {
namespace {

constexpr size_t kRemembered = 64;
// Leaving the devices' channels and the transport, once every rank has said that it is there.
constexpr double kFinalizeSeconds = 20;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

std::string timeNow() {
  using namespace std::chrono;
  const auto now = floor<seconds>(system_clock::now());
  const auto today = floor<days>(now);
  const year_month_day date(today);
  const hh_mm_ss time(now - today);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  return text;
}

// Written beside and renamed, so that a reader never sees half of it. A file system that hangs must not keep the
// processes alive, so this has a thread of its own.
void writeFile(const std::string& path, const std::string& text) noexcept try {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const std::string partial = path + ".part";
  std::FILE* file = std::fopen(partial.c_str(), "w");
  if (!file) return;  // nothing better is left to be done with it
  const bool whole = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) == 0 && whole) std::filesystem::rename(partial, path, ignored);
} catch (const std::exception&) {
  // as where no file can be opened
}

int64_t sum(const int64_t* counts, int32_t size) { return std::accumulate(counts, counts + size, int64_t{0}); }

}  // namespace

HostGroup::HostGroup(const Transport* transport, int32_t rank, int32_t size)
    : transport_(transport), rank_(rank), size_(size), worker_([this] { work(); }) {
  try {
    watchdog_ = std::thread([this] { watch(); });
  } catch (...) {
    stop();
    worker_.join();
    throw;
  }
}

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
  failNow(reason.c_str(), missing);
}

void HostGroup::failNow(const char* reason, int32_t missing) {
  if (failed_ || stopped_) return;
  tell(failure_.reason, reason);
  failure_.missing = missing;
  failedAt_ = now();
  failedJob_ = current_ ? current_ : jobs_.empty() ? nullptr : jobs_.front();
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
  if (backend->hostAddress) {
    const auto out = static_cast<size_t>((call.receive ? sum(call.receive, size_) : call.count) * sizeOf(call.dtype));
    job->in = static_cast<char*>(backend->hostAddress(job->in, static_cast<size_t>(call.count * sizeOf(call.dtype))));
    job->out = static_cast<char*>(backend->hostAddress(job->out, out));
    if (call.workspace)
      job->workspace =
          static_cast<char*>(backend->hostAddress(call.workspace, static_cast<size_t>(call.workspaceBytes)));
  } else {
    job->deviceTransport = backend->deviceTransport;
    job->stream = stream;
  }
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
  // An event behind everything issued so far.
  backend->download(
      stream, nullptr, nullptr, 0,
      [](void* pointer, const char* streamError) {
        const std::unique_ptr<Waiting> context(static_cast<Waiting*>(pointer));
        {
          std::lock_guard lock(context->group->mutex_);
          context->job->ready = true;
          if (streamError) tell(context->job->streamError, streamError);
        }
        context->group->changed_.notify_all();
      },
      new Waiting{this, job});
  return job->sequence;
}

void HostGroup::wait(const Backend* backend, Stream* stream, uint64_t ticket) {
  auto context = std::make_unique<Waiting>();
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
        const std::unique_ptr<Waiting> context(static_cast<Waiting*>(pointer));
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
  job->ready = job->last = true;
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
    if (jobs_.empty()) break;
    const std::shared_ptr<Job> job = jobs_.front();
    jobs_.pop_front();
    job->began = now();
    current_ = job;
    // Of a group that has failed, a job may be taken up before its stream has come by.
    const std::string streamError = std::move(job->streamError);
    lock.unlock();
    char text[kErrorBytes] = "";
    const bool fine = guarded(text, [&] {
                        std::string error;
                        if (!streamError.empty())
                          error = "this rank's " + streamError;
                        else if (!giveUp() && perform(*job, error))
                          return 0;
                        std::snprintf(text, sizeof text, "%s", error.c_str());
                        return 1;
                      }) == 0;
    lock.lock();
    if (!fine && late_) {
      char names[256] = "";
      for (const int32_t r : job->waitingFor) {
        const size_t length = std::strlen(names);
        std::snprintf(names + length, sizeof names - length, "%s %d", length ? ", rank" : "rank", r);
      }
      failLate(*job, names, job->waitingFor.size() == 1 ? job->waitingFor[0] : -1);
    } else if (!fine) {
      failNow(withoutCode(text), -1);
    }
    if (!fine) tell(job->error, failed_ ? failure_.reason.c_str() : "the group is closed");
    late_ = false;
    if (fine && job->last) {
      finalizing_ = now();
      lock.unlock();
      closeLinks();
      lock.lock();
    }
    current_ = nullptr;
    remember(*job);
    job->finished = true;
    changed_.notify_all();
    if (job->exchanged) {
      lock.unlock();
      std::snprintf(text, sizeof text, "ERR_GROUP: %s", job->error.c_str());
      job->exchanged(std::move(job->messages), fine ? nullptr : text);
      lock.lock();
    }
  }
  lock.unlock();
  closeLinks();
}

void HostGroup::watch() {
  std::unique_lock lock(mutex_);
  const auto tick = std::chrono::milliseconds(200);
  while (!stopped_ && !failed_) {
    changed_.wait_for(lock, tick, [&] { return stopped_ || failed_; });
    if (finalizing_ > 0 && now() - finalizing_ > kFinalizeSeconds)
      failNow("MPI, or NCCL, does not let this rank go", -1);
    const std::shared_ptr<Job> job = current_;
    if (!job || now() - job->began < deadlineOf(*job)) continue;
    late_ = true;  // the group's thread gives up, and knows which ranks it waits for; should it be stuck, this does
    changed_.wait_for(lock, tick, [&] { return failed_ || stopped_ || current_ != job; });
    if (current_ == job) failLate(*job, "", -1);
  }
  if (!failed_) return;
  changed_.wait_for(lock, tick, [&] { return !current_; });  // it may still learn which ranks it waits for
  char ignored[kErrorBytes];                                 // the processes end, with or without a record
  if (!settings_.record.empty())
    guarded(ignored, [&] { return std::thread(writeFile, settings_.record, record()).detach(), 0; });
  const double grace = settings_.graceSeconds;
  const int32_t exitCode = settings_.exitCode;
  lock.unlock();
  std::this_thread::sleep_for(std::chrono::duration<double>(grace));
  transport_->abort(exitCode);
  lock.lock();
  aborted_ = true;  // only where a test's transport returns
  changed_.notify_all();
}

double HostGroup::deadlineOf(const Job& job) const {
  if (job.kind != Collective::exchange) return settings_.deadlineSeconds;
  // Before a rank leaves others may have more to do.
  return job.last ? std::numeric_limits<double>::infinity() : settings_.exchangeSeconds;
}

void HostGroup::failLate(const Job& job, const char* waitingFor, int32_t missing) {
  char text[kErrorBytes];
  std::snprintf(text, sizeof text, "collective %llu (%s) did not finish within %g s%s%s",
                static_cast<unsigned long long>(job.sequence), nameOf(job.kind), deadlineOf(job),
                *waitingFor ? "; it waited for " : "", waitingFor);
  failNow(text, missing);
}

// For statistics and the record, which goes without it where there is no memory.
void HostGroup::remember(const Job& job) {
  const double ended = now();
  stats_.busySeconds += ended - job.began;
  ++stats_.calls[static_cast<int>(job.kind)];
  stats_.bytes[static_cast<int>(job.kind)] += job.sent;
  char ignored[kErrorBytes];
  guarded(ignored, [&] {
    history_.push_back({job.sequence, job.kind, job.sent, job.began, ended});
    if (history_.size() > kRemembered) history_.pop_front();
    return 0;
  });
}

std::string HostGroup::record() const {
  std::string text =
      format("{\n  \"rank\": %d,\n  \"ranks\": %d,\n  \"host\": ", rank_, size_) + quoted(platform::hostName());
  text += ",\n  \"time\": " + quoted(timeNow()) + ",\n  \"reason\": " + quoted(failure_.reason);
  text += ",\n  \"missing\": " + (failure_.missing < 0 ? "null" : std::to_string(failure_.missing));
  text += ",\n  \"place\": " + quoted(place_) + ",\n  \"collective\": ";
  if (failedJob_) {
    const bool begun = failedJob_->began > 0;
    text += format("{ \"sequence\": %llu, \"kind\": \"%s\", \"begun\": %s, \"seconds\": %.3f, \"waitingFor\": [",
                   static_cast<unsigned long long>(failedJob_->sequence), nameOf(failedJob_->kind),
                   begun ? "true" : "false", begun ? std::max(0.0, failedAt_ - failedJob_->began) : 0.0);
    for (size_t i = 0; i < failedJob_->waitingFor.size(); ++i)
      text += (i ? ", " : "") + std::to_string(failedJob_->waitingFor[i]);
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
