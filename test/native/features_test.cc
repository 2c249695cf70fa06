// What the processor says of itself against what the kernel says of it (on x86-64), and the choice of kernels.
#include "../../native/cpu/features.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "../../native/cpu/table.h"
#include "check.h"

namespace lateforge::testing {
namespace {

#if defined(__x86_64__)
std::set<std::string> flagsOfKernel() {
  std::set<std::string> flags;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line) && flags.empty();) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) flags.insert(word);
  }
  return flags;
}

void features() {
  const std::set<std::string> flags = flagsOfKernel();
  CHECK(!flags.empty(), "the kernel says what the processor has");
  const auto has = [&](std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (!flags.contains(name)) return false;
    return true;
  };
  const cpu::Features found = cpu::features();
  const bool avx2 = has({"avx2", "fma", "f16c"});
  CHECK(found.avx2 == avx2, "avx2: found %d, the kernel says %d", found.avx2, avx2);
  const bool avx512 = avx2 && has({"avx512f", "avx512dq", "avx512bw", "avx512vl"});
  CHECK(found.avx512 == avx512, "avx512: found %d, the kernel says %d", found.avx512, avx512);
  const bool vnni = avx512 && has({"avx512_vnni"});
  CHECK(found.vnni == vnni, "vnni: found %d, the kernel says %d", found.vnni, vnni);
  const bool bf16 = avx512 && has({"avx512_bf16"});
  CHECK(found.bf16 == bf16, "bf16: found %d, the kernel says %d", found.bf16, bf16);
}
#else
void features() { CHECK(!cpu::features().avx2 && !cpu::features().avx512, "x86's instructions on another processor"); }
#endif

// The best of it is what runs when nobody asks for another.
void choice() {
  unsetenv("LATEFORGE_ISA");
  const cpu::Features found = cpu::features();
  char error[kErrorBytes] = "";
  const cpu::Isa* isa = cpu::chooseIsa(error);
  const std::string best = found.avx512 ? "avx512" : found.avx2 ? "avx2" : "portable";
  CHECK(isa && isa->name == best, "%s runs, %s is the best here", isa ? isa->name : error, best.c_str());
  CHECK(isa && isa->bfloat16 == found.bf16, "products in bfloat16 where the processor has them");
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  lateforge::testing::features();
  lateforge::testing::choice();
  return lateforge::testing::finish("features");
}
