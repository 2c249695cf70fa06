// Collectives on the tensors of a runtime.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "../runtime/runtime.h"
#include "group.h"

namespace lateforge {

// On rows (dimension 0) of a tensor.
struct CollectiveRequest {
  Collective kind;
  Handle in;
  std::vector<int64_t> sendRows, receiveRows;  // as CollectiveCall
  int32_t root = 0;
};

// Called from the runtime's thread only.
class Collectives {
 public:
  explicit Collectives(Runtime& runtime) : runtime_(runtime) {}

  // Issues a collective. `out` is a new tensor, or 0 for a collective in place. The result may be used once `wait` was
  // called with the ticket; every ticket must be waited for.
  Status start(Group& group, const CollectiveRequest& request, Handle& out, uint64_t& ticket);
  Status wait(Group& group, uint64_t ticket);
  // Gives up the memory of those under way; before the runtime gives up its own.
  void clear() { pending_.clear(); }

 private:
  Runtime& runtime_;
  // Memory of collectives that nobody has waited for: outside the order of the stream, so it must not be reused.
  struct Pending {
    Device* device;
    std::shared_ptr<Storage> in, out, workspace;
  };
  std::unordered_map<uint64_t, Pending> pending_;
};

}  // namespace lateforge
