#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace lateforge::cuda::host {
namespace {

thread_local Fiber* starting = nullptr;

// What AddressSanitizer must know before and after the stack pointer changes.
void beforeSwitch([[maybe_unused]] void** fake, [[maybe_unused]] const void* stack, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake, stack, bytes);
#endif
}
void afterSwitch([[maybe_unused]] void* fake, [[maybe_unused]] const void** stack, [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, stack, bytes);
#endif
}

}  // namespace

#if defined(__x86_64__)
// Saves the registers that a call preserves, and the stack pointer in *from; goes on where `to` was saved.
extern "C" void lateforgeSwitchStack(void** from, void* to);
asm(R"(
.text
.type lateforgeSwitchStack, @function
.hidden lateforgeSwitchStack
.globl lateforgeSwitchStack
lateforgeSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lateforgeSwitchStack, . - lateforgeSwitchStack
)");
#endif

void Fiber::begin() {
  Fiber* self = starting;
  afterSwitch(nullptr, &self->callerStack_, &self->callerBytes_);
  self->entry_(self->argument_);
  self->leave(true);
}

void Fiber::start(void (*entry)(void*), void* argument, char* stack, size_t bytes) {
  entry_ = entry;
  argument_ = argument;
  stack_ = stack;
  bytes_ = bytes;
  ownFake_ = nullptr;
#if defined(__x86_64__)
  // As if begin() had been called from nowhere: six registers, its address, and a return address that is never used.
  auto** top = reinterpret_cast<void**>(stack + bytes) - 2;
  top[0] = reinterpret_cast<void*>(&Fiber::begin);
  top[1] = nullptr;
  for (int i = 1; i <= 6; ++i) top[-i] = nullptr;
  own_ = top - 6;
#else
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack;
  own_.uc_stack.ss_size = bytes;
  own_.uc_link = nullptr;
  makecontext(&own_, &Fiber::begin, 0);
#endif
}

void Fiber::enter() {
  starting = this;
  beforeSwitch(&callerFake_, stack_, bytes_);
#if defined(__x86_64__)
  lateforgeSwitchStack(&caller_, own_);
#else
  swapcontext(&caller_, &own_);
#endif
  afterSwitch(callerFake_, nullptr, nullptr);
}

void Fiber::leave(bool forGood) {
  beforeSwitch(forGood ? nullptr : &ownFake_, callerStack_, callerBytes_);
#if defined(__x86_64__)
  lateforgeSwitchStack(&own_, caller_);
#else
  swapcontext(&own_, &caller_);
#endif
  afterSwitch(ownFake_, &callerStack_, &callerBytes_);
}

Stacks::~Stacks() {
  if (memory_) munmap(memory_, static_cast<size_t>(count_) * kStride);
}

char* Stacks::at(int i, int count) {
  if (count > count_) {
    forget();
    if (memory_) munmap(memory_, static_cast<size_t>(count_) * kStride);
    count_ = count;
    void* memory = mmap(nullptr, static_cast<size_t>(count) * kStride, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::fprintf(stderr, "no memory for the stacks of %d lanes\n", count);
      std::abort();
    }
    memory_ = static_cast<char*>(memory);
    for (int k = 0; k < count; ++k) mprotect(memory_ + static_cast<size_t>(k) * kStride, kGuard, PROT_NONE);
  }
  return memory_ + static_cast<size_t>(i) * kStride + kGuard;
}

void Stacks::forget() {
#if defined(__SANITIZE_ADDRESS__)
  for (int k = 0; k < count_; ++k) __asan_unpoison_memory_region(memory_ + k * kStride + kGuard, kBytes);
#endif
}

}  // namespace lateforge::cuda::host
