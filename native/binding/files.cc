// What Node's file system module lacks.
#include "../platform/platform.h"
#include "env.h"

namespace lateforge::binding {
namespace {

// (path, path) → whether they were exchanged; false where the system or the file system cannot
Napi::Value exchangePaths(const Napi::CallbackInfo& info) {
  const std::string a = stringAt(info, 0, "path"), b = stringAt(info, 1, "path");
  std::string problem;
  const bool exchanged = platform::exchangePaths(a, b, problem);
  if (!problem.empty()) raise(info.Env(), "ERR_FILE", a + " and " + b + " could not be exchanged: " + problem);
  return Napi::Boolean::New(info.Env(), exchanged);
}

}  // namespace

void initFiles(Napi::Object exports) { provide(exports, "exchangePaths", exchangePaths); }

}  // namespace lateforge::binding
