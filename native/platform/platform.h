// Everything that the product asks of an operating system: posix.cc with linux.cc or macos.cc, or windows.cc. What only
// Linux has, native/mpi and native/cuda, asks for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace lateforge::platform {

// Zeroed pages, which take memory once they are touched; huge ones where the system has them. Null when it has no room.
void* reservePages(size_t bytes);
void releasePages(void* data, size_t bytes);

// What this process may use of the machine: threads, at least 1, and bytes of memory.
int grantedThreads();
int64_t grantedMemory();

// Lets the thread that calls step back behind others, as far as a nice value says: 0, as others, to 19, last. Going
// back to less takes rights that few processes have. False, with the reason in `problem`, when the system refuses.
bool setNice(int nice, std::string& problem);

// A file in memory, to read. `bytes` is 0 and nothing is mapped of an empty file and of what is no plain file. False
// when the system refuses, with what it says in `problem`: "cannot be opened: No such file or directory".
bool mapFile(const std::string& path, const uint8_t*& data, size_t& bytes, std::string& problem);
void unmapFile(const uint8_t* data, size_t bytes);

// A shared library, never unloaded, and a symbol of it. Null when there is none; of a library with the reason.
// Libraries that are loaded later find the symbols of one that is `everyones`; on Windows none is.
void* loadLibrary(const std::string& path, std::string& problem, bool everyones = false);
void* findSymbol(void* library, const char* name);

// Exchanges two names in one step: each of them exists at every moment. False where the system or the file system
// cannot, and when it fails, then with the reason in `problem`.
bool exchangePaths(const std::string& a, const std::string& b, std::string& problem);

// Empty when the system does not say.
std::string hostName();

}  // namespace lateforge::platform
