// A function on a stack of its own, which leaves to its caller and is entered again. Told to AddressSanitizer.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace lateforge::cuda::host {

class Fiber {
 public:
  // A fresh run of entry(argument) at the next enter(). A run before that never ended is forgotten.
  void start(void (*entry)(void*), void* argument, char* stack, size_t bytes);
  // Runs until the fiber leaves or its function returns. Called from the thread's own stack only.
  void enter();
  // Back to enter(); called on the fiber.
  void leave(bool forGood = false);

 private:
  static void begin();

  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  char* stack_ = nullptr;
  size_t bytes_ = 0;
#if defined(__x86_64__)
  void *own_ = nullptr, *caller_ = nullptr;  // stack pointers
#else
  ucontext_t own_, caller_;
#endif
  void *ownFake_ = nullptr, *callerFake_ = nullptr;  // AddressSanitizer's
  const void* callerStack_ = nullptr;
  size_t callerBytes_ = 0;
};

// Stacks for many fibers, with a guard page below each. Kept for the life of the thread.
class Stacks {
 public:
  ~Stacks();
  static constexpr size_t bytes() { return kBytes; }
  // Stack i of `count`; what an abandoned run left behind is forgotten.
  char* at(int i, int count);
  void forget();

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kBytes = 256 << 10;
#else
  static constexpr size_t kBytes = 64 << 10;
#endif
  static constexpr size_t kGuard = 4096, kStride = kBytes + kGuard;
  char* memory_ = nullptr;
  int count_ = 0;
};

}  // namespace lateforge::cuda::host
