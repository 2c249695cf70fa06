// What matrix products multiply. Their sums are of the real type whatever it is.
#pragma once

#include <cstdint>

namespace lateforge::cpu {

enum class Factors : uint8_t { exact, bfloat16 };  // numbers as they are, or rounded to bfloat16

// Whether the kernels that were chosen can round, which AVX-512 with BF16 can.
bool bfloat16Here();

// Of the products of layers, from the next op on; begins as LATEFORGE_MATMUL says.
Factors factors();
void setFactors(Factors factors);

// LATEFORGE_MATMUL, else exact. False with a message where the variable does not parse.
bool readFactors(Factors& factors, char* error);

}  // namespace lateforge::cpu
