// What a test may ask of the pretend NCCL, by dlsym: it is a library of its own.
#pragma once

#include <cstdint>

struct FakeNccl {
  // Rules that were broken, one a line.
  const char* (*violations)();
  // Communicators that were neither destroyed nor aborted.
  int32_t (*alive)();
  // This rank's communicator reports an error from its nth group on, and its kernels do not end by themselves.
  void (*failAt)(int32_t rank, int32_t group);
  void (*reset)();
};

// extern "C" const FakeNccl* fakeNccl();
