#include "factors.h"

#include <atomic>

#include "../runtime/setting.h"
#include "features.h"
#include "table.h"

namespace lateforge::cpu {
namespace {

std::atomic<Factors>& chosen() {
  static std::atomic<Factors> chosen = [] {
    Factors begin = Factors::exact;
    char error[kErrorBytes];
    readFactors(begin, error);  // what does not parse has been told: chooseIsa
    return begin;
  }();
  return chosen;
}

}  // namespace

bool bfloat16Here() {
  char error[kErrorBytes];
  const Isa* isa = chooseIsa(error);
  return isa && isa->bfloat16;
}

Factors factors() { return chosen(); }
void setFactors(Factors factors) { chosen() = factors; }

bool readFactors(Factors& factors, char* error) {
  const std::string_view text = setting("LATEFORGE_MATMUL");
  factors = text == "bfloat16" ? Factors::bfloat16 : Factors::exact;
  return text.empty() || text == "float32" || text == "bfloat16" ||
         refuseSetting("LATEFORGE_MATMUL", "float32 or bfloat16", error);
}

}  // namespace lateforge::cpu
