// Dev<T> and Shared<T> in the host emulation: an address with its bounds. They resolve only inside a kernel. A device
// address is a host address with bit 62 set, so that host code that dereferences one faults instead of working by
// accident.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace lateforge::cuda {

namespace host {

constexpr uintptr_t kDeviceBit = uintptr_t{1} << 62;

// Ends the launch with a message (inside a kernel), or the process (outside one).
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);
// Fails unless a kernel is running; for shared memory, unless the bytes belong to the running block.
void requireKernel();
void requireShared(uintptr_t address, int64_t bytes);

}  // namespace host

enum class Space { global, shared };

template <class T, Space space>
class Pointer {
 public:
  Pointer() = default;
  Pointer(std::nullptr_t) {}
  Pointer(uintptr_t base, int64_t bytes) : base_(base), bytes_(bytes) {}
  template <class U>
    requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>)
  Pointer(const Pointer<U, space>& other)  // to const
      : base_(other.base()), offset_(other.offset()), bytes_(other.bytes()) {}

  explicit operator bool() const { return base_ != 0; }
  T& operator[](int64_t i) const { return *(*this + i); }
  T* operator->() const { return &**this; }
  Pointer operator+(int64_t n) const {
    Pointer moved = *this;
    moved.offset_ += n * static_cast<int64_t>(sizeof(T));
    return moved;
  }
  Pointer operator-(int64_t n) const { return *this + -n; }
  Pointer& operator+=(int64_t n) { return *this = *this + n; }

  T& operator*() const { return *static_cast<T*>(span(1)); }
  // The host address of the next `count` elements, checked.
  void* span(int64_t count) const {
    const int64_t size = count * static_cast<int64_t>(sizeof(T));
    if (offset_ < 0 || offset_ + size > bytes_)
      host::fail("access to bytes %lld to %lld of %lld", static_cast<long long>(offset_),
                 static_cast<long long>(offset_ + size), static_cast<long long>(bytes_));
    uintptr_t address = base_ + static_cast<uintptr_t>(offset_);
    if (address % alignof(T)) host::fail("access of %zu bytes at an address that is no multiple", alignof(T));
    if constexpr (space == Space::shared) {
      host::requireShared(address, size);
    } else {
      host::requireKernel();
      address -= host::kDeviceBit;
    }
    return reinterpret_cast<void*>(address);
  }

  uintptr_t base() const { return base_; }
  int64_t offset() const { return offset_; }
  int64_t bytes() const { return bytes_; }
  uintptr_t address() const { return base_ + static_cast<uintptr_t>(offset_); }

  template <class U>
  Pointer<U, space> recast() const {
    static_assert(std::is_const_v<U> || !std::is_const_v<T>);
    Pointer<U, space> same(base_, bytes_);
    same.setOffset(offset_);
    return same;
  }
  void setOffset(int64_t bytes) { offset_ = bytes; }

 private:
  uintptr_t base_ = 0;
  int64_t offset_ = 0, bytes_ = 0;
};

template <class T>
using Dev = Pointer<T, Space::global>;
template <class T>
using Shared = Pointer<T, Space::shared>;

template <class U, class T, Space space>
Pointer<U, space> recast(const Pointer<T, space>& p) {
  return p.template recast<U>();
}

}  // namespace lateforge::cuda
