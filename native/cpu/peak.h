// The most multiply-adds the processor can do, measured: what benches compare with.
#pragma once

namespace lateforge::cpu {

// Float32 operations a second of the whole team, over about `seconds`, with the instructions the kernels use.
double measurePeak(double seconds);

}  // namespace lateforge::cpu
