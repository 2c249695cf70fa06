// What Linux and macOS have in common.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "platform.h"

namespace lateforge::platform {

void* reservePages(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

void releasePages(void* data, size_t bytes) { munmap(data, bytes); }

bool mapFile(const std::string& path, const uint8_t*& data, size_t& bytes, std::string& problem) {
  data = nullptr;
  bytes = 0;
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    problem = std::string("cannot be opened: ") + std::strerror(errno);
    return false;
  }
  struct stat info{};
  void* mapped = nullptr;
  int reason = 0;
  if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    mapped = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, file, 0);
    reason = errno;
  }
  close(file);
  if (mapped == MAP_FAILED) {
    problem = std::string("cannot be mapped: ") + std::strerror(reason);
    return false;
  }
  data = static_cast<const uint8_t*>(mapped);
  if (mapped) bytes = static_cast<size_t>(info.st_size);
  return true;
}

void unmapFile(const uint8_t* data, size_t bytes) { munmap(const_cast<uint8_t*>(data), bytes); }

void* loadLibrary(const std::string& path, std::string& problem, bool everyones) {
  void* library = dlopen(path.c_str(), RTLD_NOW | (everyones ? RTLD_GLOBAL : RTLD_LOCAL));
  if (!library) problem = dlerror();
  return library;
}

void* findSymbol(void* library, const char* name) { return dlsym(library, name); }

std::string hostName() {
  char text[256] = "";
  gethostname(text, sizeof text - 1);
  return text;
}

}  // namespace lateforge::platform
