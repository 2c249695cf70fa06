// What processor and operating system offer together: the instructions, and registers that survive a change of threads.
#pragma once

namespace lateforge::cpu {

// What the tables of table.h need, and what some of their kernels use where it is.
struct Features {
  bool avx2;    // with FMA and F16C
  bool avx512;  // F, DQ, BW and VL, with all of avx2
  bool vnni;    // AVX512-VNNI, with all of avx512
  bool bf16;    // AVX512-BF16, with all of avx512
};

// Asks the processor itself: what compilers offer for it answers "no" under some of them (zig's clang).
Features features();

}  // namespace lateforge::cpu
