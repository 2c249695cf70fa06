// What users set in the environment (docs/environment.md), read in one way everywhere: an empty variable is none, and
// one that does not parse is an error that names it, what was found and what is expected. Header only, because backends
// and transports are libraries of their own.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "backend.h"

namespace lateforge {

// The text of a variable; empty where it is not set.
inline std::string_view setting(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

// Digits and nothing else.
inline std::optional<int64_t> parseCount(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || text[0] == '-') return std::nullopt;
  return value;
}

// Bytes: "8000000000", "8GB" (powers of 1,000), "7.5GiB" or "7.5g" (powers of 1,024); upper or lower case, a blank
// before the unit or none.
inline std::optional<int64_t> parseBytes(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || text[0] == '-') return std::nullopt;
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (unit.size() > 1 && unit[0] == ' ') unit.remove_prefix(1);
  char lower[4] = "";
  if (unit.size() >= sizeof lower) return std::nullopt;
  for (size_t i = 0; i < unit.size(); ++i) lower[i] = unit[i] >= 'A' && unit[i] <= 'Z' ? unit[i] + 32 : unit[i];
  if (lower[0] && std::strcmp(lower, "b") != 0) {
    constexpr std::string_view kPrefixes = "kmgt";
    const size_t power = kPrefixes.find(lower[0]);
    const bool decimal = std::strcmp(lower + 1, "b") == 0;
    if (power == kPrefixes.npos || (!decimal && lower[1] && std::strcmp(lower + 1, "ib") != 0)) return std::nullopt;
    for (size_t i = 0; i <= power; ++i) value *= decimal ? 1000 : 1024;
  }
  if (!(value < 9e18)) return std::nullopt;
  return static_cast<int64_t>(value);
}

// Writes what was found in a variable and what it may hold. @returns false
inline bool refuseSetting(const char* name, const char* expected, char* error) {
  const std::string_view text = setting(name);
  std::snprintf(error, kErrorBytes, "ERR_CONFIG: %s is \"%.*s\"; expected %s", name,
                static_cast<int>(text.size() < 80 ? text.size() : 80), text.data(), expected);
  return false;
}

// The number in a variable, least to most; `value` stays as it is where there is none. False with a message in `error`.
inline bool readCount(const char* name, int64_t least, int64_t most, int64_t& value, char* error) {
  if (setting(name).empty()) return true;
  const std::optional<int64_t> found = parseCount(setting(name));
  if (found && *found >= least && *found <= most) {
    value = *found;
    return true;
  }
  char expected[80];
  std::snprintf(expected, sizeof expected, "a whole number from %lld to %lld", static_cast<long long>(least),
                static_cast<long long>(most));
  return refuseSetting(name, expected, error);
}

// The same for 0 and 1.
inline bool readFlag(const char* name, bool& value, char* error) {
  const std::string_view text = setting(name);
  if (text.empty()) return true;
  value = text == "1";
  return value || text == "0" || refuseSetting(name, "1 (on) or 0 (off)", error);
}

// LATEFORGE_MEMORY_LIMIT, which every device has. So little that no model fits is a unit forgotten.
inline bool readMemoryLimit(int64_t& bytes, char* error) {
  constexpr const char* kName = "LATEFORGE_MEMORY_LIMIT";
  if (setting(kName).empty()) return true;
  const std::optional<int64_t> found = parseBytes(setting(kName));
  if (!found || *found < int64_t{1} << 20)
    return refuseSetting(kName, "bytes, at least 1 MiB, as 8GB, 512MiB or 4g", error);
  bytes = *found;
  return true;
}

}  // namespace lateforge
