// A result that carries the stable error code and the message shown to the user. Nothing in core throws or aborts.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>
#include <utility>

namespace lateforge {

struct Status {
  std::string code;  // empty when all is well, else ERR_…
  std::string message;

  bool ok() const { return code.empty(); }
  static Status fine() { return {}; }
  [[gnu::format(printf, 2, 3)]] static Status error(const char* code, const char* format, ...) {
    char text[1024];
    va_list list;
    va_start(list, format);
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return {code, text};
  }
};

// What a backend has written: an error with the code that the text begins with ("ERR_CONFIG: …"), else with `code`.
inline Status told(const char* code, const std::string& text) {
  const size_t colon = text.rfind("ERR_", 0) == 0 ? text.find(": ") : std::string::npos;
  if (colon == std::string::npos) return {code, text};
  return {text.substr(0, colon), text.substr(colon + 2)};
}

#define LF_TRY(expression)                                          \
  do {                                                              \
    if (::lateforge::Status s_ = (expression); !s_.ok()) return s_; \
  } while (0)

#define LF_REQUIRE(condition, code, ...)                                    \
  do {                                                                      \
    if (!(condition)) return ::lateforge::Status::error(code, __VA_ARGS__); \
  } while (0)

}  // namespace lateforge
