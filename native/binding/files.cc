// What Node's file system module lacks.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "env.h"

namespace lateforge::binding {
namespace {

// Exchanges two names in one step (renameat2, RENAME_EXCHANGE): each of them exists at every moment. False where the
// kernel or the file system cannot; glibc has the function since 2.28, kernels since 3.15.
Napi::Value exchangePaths(const Napi::CallbackInfo& info) {
  constexpr unsigned kExchange = 2;
  const std::string a = stringAt(info, 0, "path"), b = stringAt(info, 1, "path");
  if (syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange) == 0)
    return Napi::Boolean::New(info.Env(), true);
  if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) return Napi::Boolean::New(info.Env(), false);
  raise(info.Env(), "ERR_FILE", a + " and " + b + " could not be exchanged: " + std::strerror(errno));
}

}  // namespace

void initFiles(Napi::Object exports) {
  provide(exports, "exchangePaths", exchangePaths);
}

}  // namespace lateforge::binding
