// Collectives on tensors: checks, shapes, and the memory they hold while they are under way.
#include "collective.h"

namespace lateforge {
namespace {

// The rows of a tensor that has so many for every rank: no more elements in all than can be counted.
Status sumRows(const char* name, const char* what, const std::vector<int64_t>& rows, int32_t size, Meta tensor,
               int64_t& sum) {
  LF_REQUIRE(rows.size() == static_cast<size_t>(size), "ERR_ARGUMENT", "%s: %zu %s counts for %d ranks", name,
             rows.size(), what, size);
  tensor.dims[0] = 0;
  for (const int64_t n : rows) {
    LF_REQUIRE(n >= 0, "ERR_ARGUMENT", "%s: a %s count is %lld", name, what, static_cast<long long>(n));
    LF_REQUIRE(!__builtin_add_overflow(tensor.dims[0], n, &tensor.dims[0]) && tensor.countable(), "ERR_SHAPE",
               "%s: the %s counts add up to more elements than can be counted", name, what);
  }
  sum = tensor.dims[0];
  return Status::fine();
}

}  // namespace

Status Collectives::start(Group& group, const CollectiveRequest& request, Handle& out, uint64_t& ticket) {
  const auto& [kind, in, sendRows, receiveRows, root] = request;
  const char* name = nameOf(kind);
  Runtime::Entry* entry;
  LF_TRY(runtime_.resolve(name, in, entry));
  const Meta meta = entry->meta;
  Device* device = entry->storage->device;
  const std::shared_ptr<Storage> input = entry->storage;
  LF_TRY(runtime_.checkRoom(name, 1));
  CollectiveCall call{kind, meta.dtype, entry->data, entry->data, meta.count(), nullptr, nullptr, root};
  LF_REQUIRE(group.reaches(device->backend), "ERR_UNSUPPORTED", "%s: a group of ranks cannot reach the memory of %s",
             name, device->backend->name);
  const bool gathers = kind == Collective::allGather, scatters = kind == Collective::allToAll;
  if (kind == Collective::allReduceSum || kind == Collective::allReduceMax)
    LF_REQUIRE(meta.dtype == DType::f32 || meta.dtype == DType::f64, "ERR_DTYPE",
               "%s: sums are float32 or float64, got %s", name, meta.text().c_str());
  if (kind == Collective::broadcast)
    LF_REQUIRE(root >= 0 && root < group.size(), "ERR_ARGUMENT", "broadcast: rank %d of %d", root, group.size());
  std::shared_ptr<Storage> output, workspace;
  std::vector<int64_t> send, receive;
  out = 0;
  if (gathers || scatters) {
    LF_REQUIRE(meta.rank >= 1, "ERR_SHAPE", "%s: the tensor has no rows", name);
    const int64_t width = meta.dims[0] ? meta.count() / meta.dims[0] : meta.dims[1] * meta.dims[2] * meta.dims[3];
    int64_t received = 0, expected = 0;
    LF_TRY(sumRows(name, "receive", receiveRows, group.size(), meta, received));
    if (scatters)
      LF_TRY(sumRows(name, "send", sendRows, group.size(), meta, expected));
    else
      expected = receiveRows[group.rank()];
    LF_REQUIRE(expected == meta.dims[0], "ERR_SHAPE", "%s: the counts say %lld rows, the tensor is %s", name,
               static_cast<long long>(expected), meta.text().c_str());
    if (scatters)
      LF_REQUIRE(sendRows[group.rank()] == receiveRows[group.rank()], "ERR_ARGUMENT",
                 "allToAll: this rank sends itself %lld rows and receives %lld",
                 static_cast<long long>(sendRows[group.rank()]), static_cast<long long>(receiveRows[group.rank()]));
    for (const int64_t n : sendRows) send.push_back(n * width);
    for (const int64_t n : receiveRows) receive.push_back(n * width);
    Meta result = meta;
    result.facts = nullptr;
    result.dims[0] = received;
    LF_TRY(runtime_.allocate(device, result.bytes(), name, output));
    call.out = output->data;
    call.send = scatters ? send.data() : nullptr;
    call.receive = receive.data();
    out = runtime_.insert(std::shared_ptr<Storage>(output), static_cast<char*>(output->data), std::move(result), name);
  }
  call.workspaceBytes = group.workspace(device->backend, call);
  if (call.workspaceBytes) {
    LF_TRY(
        runtime_.allocate(device, call.workspaceBytes, (std::string("the workspace of ") + name).c_str(), workspace));
    call.workspace = workspace->data;
  }
  if (!output) runtime_.forgetFacts(*entry);
  ticket = group.start(device->backend, device->stream, call);
  pending_[ticket] = {device, input, output, workspace};
  return Status::fine();
}

Status Collectives::wait(Group& group, uint64_t ticket) {
  const auto found = pending_.find(ticket);
  LF_REQUIRE(found != pending_.end(), "ERR_ARGUMENT", "collective %llu is not under way",
             static_cast<unsigned long long>(ticket));
  group.wait(found->second.device->backend, found->second.device->stream, ticket);
  pending_.erase(found);
  return Status::fine();
}

}  // namespace lateforge
