// Nothing that is thrown leaves a native thread, nor a function of a backend's table: it becomes a message, as any
// other error is one. A message may begin with its code, "ERR_…: …"; one that does not is ERR_DEVICE
// (native/binding/addon.cc).
//
// All of this works without memory: what is told may be that there is none.
#pragma once

#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "backend.h"

namespace lateforge {

// Whoever catches it is in a catch block. At most kErrorBytes.
inline void describeThrown(char* error) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    std::snprintf(error, kErrorBytes, "ERR_OUT_OF_MEMORY: the host has no memory left");
  } catch (const std::exception& thrown) {
    std::snprintf(error, kErrorBytes, "%s", thrown.what());
  } catch (...) {
    std::snprintf(error, kErrorBytes, "something was thrown that says nothing");
  }
}

// What follows the code.
inline const char* withoutCode(const char* message) {
  const char* colon = std::strncmp(message, "ERR_", 4) == 0 ? std::strstr(message, ": ") : nullptr;
  return colon ? colon + 2 : message;
}

// What `f` returns (0, or 1 with a message in `error`); 1, with a message, when it throws.
template <class F>
int32_t guarded(char* error, const F& f) noexcept {
  try {
    return f();
  } catch (...) {
    describeThrown(error);
    return 1;
  }
}

// The first error of a stream. Not synchronised.
class FirstError {
 public:
  explicit operator bool() const { return text_[0] != 0; }
  // Null when there is none.
  const char* text() const { return text_[0] ? text_ : nullptr; }
  void clear() { text_[0] = 0; }
  // Keeps `message`, said of `what`, unless there is an error already. A code stays in front.
  void keep(const char* what, const char* message) {
    if (text_[0]) return;
    const char* rest = withoutCode(message);
    std::snprintf(text_, sizeof text_, "%.*s%s: %s", static_cast<int>(rest - message), message, what, rest);
  }
  // The same for a message that says itself what it is about.
  void keep(const char* message) {
    if (!text_[0]) std::snprintf(text_, sizeof text_, "%s", message);
  }
  void append(const char* more) {
    const size_t length = std::strlen(text_);
    std::snprintf(text_ + length, sizeof text_ - length, "%s", more);
  }

 private:
  char text_[kErrorBytes + 256] = "";
};

}  // namespace lateforge
