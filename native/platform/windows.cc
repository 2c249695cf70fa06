// Windows; has run under Wine only. Paths are UTF-8, as Node hands them over.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <system_error>

#include "platform.h"

namespace lateforge::platform {
namespace {

std::wstring wide(const std::string& text) {
  const int bytes = static_cast<int>(text.size());
  std::wstring out(static_cast<size_t>(MultiByteToWideChar(CP_UTF8, 0, text.data(), bytes, nullptr, 0)), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), bytes, out.data(), static_cast<int>(out.size()));
  return out;
}

std::string lastProblem() { return std::system_category().message(static_cast<int>(GetLastError())); }

}  // namespace

bool setNice(int nice, std::string& problem) {
  const int priority = nice == 0   ? THREAD_PRIORITY_NORMAL
                       : nice < 10 ? THREAD_PRIORITY_BELOW_NORMAL
                                   : THREAD_PRIORITY_LOWEST;
  if (SetThreadPriority(GetCurrentThread(), priority)) return true;
  problem = lastProblem();
  return false;
}

// Committed at once: Windows counts what is reserved against memory and page file, but makes pages when they are
// touched.
void* reservePages(size_t bytes) { return VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); }

void releasePages(void* data, size_t) { VirtualFree(data, 0, MEM_RELEASE); }

int grantedThreads() {
  // Of the processor group the process runs in, which has 64 processors at most.
  DWORD_PTR process = 0, machine = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &machine)) return 1;
  return std::max(1, static_cast<int>(__builtin_popcountll(process)));
}

int64_t grantedMemory() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? static_cast<int64_t>(status.ullTotalPhys) : 0;
}

bool mapFile(const std::string& path, const uint8_t*& data, size_t& bytes, std::string& problem) {
  data = nullptr;
  bytes = 0;
  const HANDLE file = CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                                  OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) {
    problem = "cannot be opened: " + lastProblem();
    return false;
  }
  LARGE_INTEGER size{};
  if (GetFileType(file) == FILE_TYPE_DISK && GetFileSizeEx(file, &size) && size.QuadPart > 0) {
    // The view keeps the mapping, and the mapping the file.
    const HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (mapping) data = static_cast<const uint8_t*>(MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0));
    if (!data) problem = "cannot be mapped: " + lastProblem();
    if (mapping) CloseHandle(mapping);
  }
  CloseHandle(file);
  if (data) bytes = static_cast<size_t>(size.QuadPart);
  return problem.empty();
}

void unmapFile(const uint8_t* data, size_t) { UnmapViewOfFile(data); }

void* loadLibrary(const std::string& path, std::string& problem, bool) {
  // What the library needs is looked for beside it too.
  const HMODULE library = LoadLibraryExW(wide(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (!library) problem = path + ": " + lastProblem();
  return reinterpret_cast<void*>(library);
}

void* findSymbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

bool exchangePaths(const std::string&, const std::string&, std::string&) { return false; }

std::string hostName() {
  char text[MAX_COMPUTERNAME_LENGTH + 1] = "";
  DWORD length = sizeof text;
  return GetComputerNameA(text, &length) ? text : "";
}

}  // namespace lateforge::platform
