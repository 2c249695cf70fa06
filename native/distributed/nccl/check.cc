// Compares nccl_api.h with NVIDIA's own header, where a toolkit has it. Compiles to nothing.
#if __has_include(<nccl.h>)
#include <nccl.h>

#include <type_traits>

#include "api.h"

namespace lateforge::cuda::nccl {

static_assert(sizeof(Id) == sizeof(ncclUniqueId));
static_assert(sizeof(Status) == sizeof(ncclResult_t) && sizeof(DataType) == sizeof(ncclDataType_t));
static_assert(static_cast<int>(kSuccess) == ncclSuccess && static_cast<int>(kInProgress) == ncclInProgress);
static_assert(static_cast<int>(kUnhandledCudaError) == ncclUnhandledCudaError);
static_assert(static_cast<int>(kSystemError) == ncclSystemError);
static_assert(static_cast<int>(kInternalError) == ncclInternalError);
static_assert(static_cast<int>(kInvalidArgument) == ncclInvalidArgument);
static_assert(static_cast<int>(kInvalidUsage) == ncclInvalidUsage);
static_assert(static_cast<int>(kRemoteError) == ncclRemoteError);
static_assert(static_cast<int>(kBytes) == ncclUint8);
constexpr ncclConfig_t kTheirs = NCCL_CONFIG_INITIALIZER;
static_assert(sizeof(Config) <= sizeof kTheirs && Config{}.magic == kTheirs.magic);
static_assert(offsetof(Config, size) == offsetof(ncclConfig_t, size));
static_assert(offsetof(Config, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(Config, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(Config, blocking) == offsetof(ncclConfig_t, blocking));

// Arguments: as many, and each as wide (structs and enums have their own names there).
template <class... A, class... B>
constexpr bool alike(Status (*)(A...), ncclResult_t (*)(B...)) {
  static_assert(sizeof...(A) == sizeof...(B));
  return ((sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>) && ...);
}
#define F(name, arguments) static_assert(alike(decltype(Api::name){}, decltype(&nccl##name){}));
LF_NCCL(F)
#undef F

}  // namespace lateforge::cuda::nccl
#endif
