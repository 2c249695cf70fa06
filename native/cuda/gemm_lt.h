// What the runtime needs of cuBLASLt.
#pragma once

#include <string>

#include "op.h"

namespace lateforge::cuda {

// Gives back what products on this stream needed.
void closeGemm(StreamHandle stream);
// "path, version", or why there is none; opens the library.
std::string describeLt();

}  // namespace lateforge::cuda
