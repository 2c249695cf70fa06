#include "library.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace lateforge::cuda {
namespace {

std::string setting(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(at, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool tryOpen(Library& library, const std::string& path) {
  const bool bare = path.find('/') == std::string::npos;
  if (!bare && access(path.c_str(), F_OK) != 0) return false;
  library.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library.handle) {
    if (const char* text = dlerror(); text && !bare) library.reason = text;  // it is there, and does not load
    return false;
  }
  library.path = path;
  library.reason.clear();
  if (link_map* map = nullptr; dlinfo(library.handle, RTLD_DI_LINKMAP, &map) == 0 && map) library.path = map->l_name;
  return true;
}

bool tryFolders(Library& library, std::initializer_list<const char*> names, const std::vector<std::string>& folders) {
  for (const char* name : names)
    for (const std::string& folder : folders)
      if (tryOpen(library, folder + "/" + name)) return true;
  return false;
}

}  // namespace

void* Library::symbol(const char* name) const { return dlsym(handle, name); }

Library openLibrary(std::initializer_list<const char*> names) {
  Library library;
  if (tryFolders(library, names, split(setting("LATEFORGE_CUDA_LIB_PATH"), ':'))) return library;
  for (const char* name : names)
    if (tryOpen(library, name)) return library;
  std::vector<std::string> folders;
  for (const std::string& home : {setting("CUDA_HOME"), setting("CUDA_PATH"), std::string("/usr/local/cuda")})
    if (!home.empty()) {
      folders.push_back(home + "/lib64");
      folders.push_back(home + "/lib");
    }
  if (tryFolders(library, names, folders)) return library;
  if (library.reason.empty())
    library.reason = std::string(*names.begin()) +
                     " was not found in LATEFORGE_CUDA_LIB_PATH, on the loader's path, in CUDA_HOME or CUDA_PATH; "
                     "`lateforge doctor` prints the path of those that pip installed";
  return library;
}

}  // namespace lateforge::cuda
