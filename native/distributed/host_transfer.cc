// Who sends what to whom: collectives as exchanges between all ranks, over the transport or over a device's own.
#include <algorithm>
#include <cstring>

#include "host_job.h"
#include "rank_sum.h"

namespace lateforge {
namespace {

// Up to here a reduction is one exchange of everything, above it two exchanges of slices.
constexpr int64_t kSmallBytes = 64 << 10;
// What a reduction in host memory combines at a time: one value of every rank for each element that this rank combines.
constexpr int64_t kPieceBytes = int64_t{8} << 20;

// Elements that a reduction takes at a time, and whether so many are few.
int64_t pieceOf(int64_t scratchBytes, int64_t width, int32_t size) { return scratchBytes / width / size * size; }
bool small(int64_t count, int64_t scratchBytes, int64_t width, int32_t size) {
  return count * width <= std::min(kSmallBytes, scratchBytes / size);
}

}  // namespace

const char* HostGroup::wordsOf(Route route) {
  return route == Route::host        ? "works in host memory"
         : route == Route::handshake ? "meets the others on a device"
                                     : "works on a device";
}

bool HostGroup::perform(Job& job, std::string& error) {
  if (job.deviceTransport && !findChannel(job, error)) return false;
  const int64_t width = sizeOf(job.dtype);
  std::vector<Slice> send(static_cast<size_t>(size_)), receive(static_cast<size_t>(size_));
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
      for (Slice& part : send) part = {job.message.data(), static_cast<int64_t>(job.message.size())};
      if (!announce(job, Route::host, send, coming, error)) return false;
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

// Element by element in rank order, so neither slices nor pieces change a bit.
bool HostGroup::reduce(Job& job, std::string& error) {
  const int64_t width = sizeOf(job.dtype);
  const int64_t most = pieceOf(job.channel ? kChannelScratchBytes : kPieceBytes, width, size_);
  int64_t first = 0;
  do {
    const int64_t count = std::min(most, job.count - first);
    if (!reducePiece(job, job.in + first * width, count, error)) return false;
    first += count;
  } while (first < job.count);
  return true;
}

int64_t HostGroup::workspace(const Backend* backend, const CollectiveCall& call) const {
  const bool reduces = call.kind == Collective::allReduceSum || call.kind == Collective::allReduceMax;
  if (!reduces || !backend->hostAddress) return 0;  // a device's transport lends its own
  const int64_t width = sizeOf(call.dtype);
  if (call.count > pieceOf(kPieceBytes, width, size_)) return kPieceBytes;
  const int64_t own = small(call.count, kPieceBytes, width, size_) ? call.count : (call.count + size_ - 1) / size_;
  return own * width * size_;
}

bool HostGroup::reducePiece(Job& job, char* data, int64_t count, std::string& error) {
  const int64_t width = sizeOf(job.dtype);
  const bool whole = small(count, job.channel ? kChannelScratchBytes : kPieceBytes, width, size_);
  // Slice r is combined by rank r; a small tensor is one slice that everybody combines.
  const auto bound = [&](int64_t r) { return whole ? (r > rank_ ? count : 0) : count * r / size_; };
  const int64_t first = bound(rank_), own = bound(rank_ + 1) - first;
  char* scratch = job.channel ? static_cast<char*>(job.deviceTransport->scratch(job.channel)) : job.workspace;
  std::vector<Slice> send(static_cast<size_t>(size_)), receive(static_cast<size_t>(size_));
  for (int32_t r = 0; r < size_; ++r) {
    const int64_t from = whole ? 0 : bound(r), to = whole ? count : bound(r + 1);
    send[r] = {data + from * width, (to - from) * width};
    receive[r] = {scratch + r * own * width, own * width};
  }
  if (!transfer(job, send, receive, error) || !combine(job, data + first * width, scratch, own, error)) return false;
  if (whole) return true;
  for (int32_t r = 0; r < size_; ++r) {
    send[r] = {data + first * width, own * width};
    receive[r] = {data + bound(r) * width, (bound(r + 1) - bound(r)) * width};
  }
  return transfer(job, send, receive, error);
}

bool HostGroup::combine(Job& job, char* out, const char* parts, int64_t count, std::string& error) {
  if (job.channel) {
    char text[kErrorBytes] = "";
    const bool largest = job.kind == Collective::allReduceMax;
    return succeeded(job.deviceTransport->combine(job.channel, largest, job.dtype, out, parts, count, stopping(), text),
                     text, error);
  }
  (job.dtype == DType::f64 ? reduceRanks<double> : reduceRanks<float>)(job.kind, out, parts, count, size_);
  return true;
}

bool HostGroup::transfer(Job& job, std::vector<Slice>& send, std::vector<Slice>& receive, std::string& error) {
  if (!requireSame(job, job.channel ? Route::device : Route::host, send, receive, error)) return false;
  if (job.channel) {
    char text[kErrorBytes] = "";
    return succeeded(job.deviceTransport->exchange(job.channel, send.data(), receive.data(), stopping(), text), text,
                     error);
  }
  // The own part is copied here, the others go through the transport.
  if (send[rank_].data != receive[rank_].data && send[rank_].bytes)
    std::memmove(receive[rank_].data, send[rank_].data, static_cast<size_t>(receive[rank_].bytes));
  return move(job, send, receive, error);
}

bool HostGroup::succeeded(int32_t status, const char* text, std::string& error) {
  if (status == 1) error = text;
  return status == 0;
}

// The channel of the job's device. The ranks open theirs together, at the first collective that needs them.
bool HostGroup::findChannel(Job& job, std::string& error) {
  for (const OpenChannel& open : channels_)
    if (open.stream == job.stream) job.channel = open.channel;
  if (job.channel) return true;
  struct Card {
    char device[kChannelNameBytes];
    uint8_t id[kChannelIdBytes];
  };
  Card own{};
  char text[kErrorBytes] = "";
  if (!succeeded(job.deviceTransport->identify(job.stream, own.device, text), text, error)) return false;
  if (rank_ == 0 && !succeeded(job.deviceTransport->makeId(own.id, text), text, error)) return false;
  std::vector<Card> cards(static_cast<size_t>(size_));
  std::vector<Slice> send(static_cast<size_t>(size_), {&own, sizeof own}), receive(static_cast<size_t>(size_));
  for (int32_t r = 0; r < size_; ++r) receive[r] = {&cards[r], sizeof(Card)};
  if (!requireSame(job, Route::handshake, send, receive, error) || !move(job, send, receive, error)) return false;
  cards[rank_] = own;
  for (int32_t r = 1; r < size_; ++r)
    for (int32_t earlier = 0; earlier < r; ++earlier)
      if (std::strncmp(cards[r].device, cards[earlier].device, kChannelNameBytes) == 0) {
        error = format(
            "ranks %d and %d are on the same device, %.64s; every rank needs one of its own: start no more "
            "ranks on a machine than it has devices",
            earlier, r, cards[r].device);
        return false;
      }
  DeviceChannel* channel = nullptr;
  if (!succeeded(job.deviceTransport->open(job.stream, cards[0].id, rank_, size_, stopping(), &channel, text), text,
                 error))
    return false;
  channels_.push_back({job.deviceTransport, job.stream, channel});
  job.channel = channel;
  return true;
}

void HostGroup::closeLinks() {
  for (const OpenChannel& open : channels_) open.deviceTransport->close(open.channel, stopping());
  channels_.clear();
}

// Whether every rank is about to send what this one expects.
bool HostGroup::requireSame(Job& job, Route route, const std::vector<Slice>& send, const std::vector<Slice>& receive,
                            std::string& error) {
  std::vector<int64_t> coming;
  if (!announce(job, route, send, coming, error)) return false;
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
    if (route != Route::handshake) job.sent += send[r].bytes;
  }
  return true;
}

bool HostGroup::announce(Job& job, Route route, const std::vector<Slice>& send, std::vector<int64_t>& coming,
                         std::string& error) {
  announced_.resize(static_cast<size_t>(size_));
  heard_.resize(static_cast<size_t>(size_));
  std::vector<Slice> out(static_cast<size_t>(size_)), in(static_cast<size_t>(size_));
  for (int32_t r = 0; r < size_; ++r) {
    announced_[r] = {job.sequence, static_cast<int32_t>(job.kind), route, send[r].bytes};
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
    if (a.route != route) {
      error = format("collective %llu (%s): rank %d %s, this rank %s", static_cast<unsigned long long>(job.sequence),
                     nameOf(job.kind), r, wordsOf(a.route), wordsOf(route));
      return false;
    }
    coming[r] = a.bytes;
  }
  return true;
}

bool HostGroup::move(Job& job, const std::vector<Slice>& send, const std::vector<Slice>& receive, std::string& error) {
  char text[kTransportErrorBytes] = "";
  waiting_.assign(static_cast<size_t>(size_), 0);
  const int32_t status = transport_->exchange(send.data(), receive.data(), stopping().ask, this, waiting_.data(), text);
  if (status == 0) return true;
  if (status == 1) error = std::string(transport_->name) + ": " + text;
  std::lock_guard lock(mutex_);
  for (int32_t r = 0; r < size_; ++r)
    if (waiting_[r]) job.waitingFor.push_back(r);
  return false;
}

}  // namespace lateforge
