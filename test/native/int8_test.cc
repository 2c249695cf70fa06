// Products with int8 weights against what int8 stands for; the same for any number of threads.
#include "../../native/cpu/team.h"
#include "compare.h"

using namespace lateforge;
using namespace lateforge::testing;

namespace {

// What int8 stands for, in double: products of whole numbers, and the scales of their rows.
template <class T>
void int8Ops(const cpu::Kernels* table) {
  const int64_t rows = number(0, 70), in = number(1, 300), out = number(1, 140);
  Tensor x = noise<T>({rows, in}), w = noise<T>({out, in}), b = noise<T>({out}), none;
  for (int64_t k = 0; k < in; ++k) {
    w.as<T>()[out / 2 * in + k] = 0;
    if (rows > 0) x.as<T>()[rows / 2 * in + k] = 0;
  }
  const std::vector<Tensor> packed = run(table, Op::packInt8, params::packInt8{}, {&w});
  // What a row stands for: x in groups of 128 around their middles, where it is rounded as float32, w around 0.
  const auto stored = [&](const Tensor& m, int64_t row, bool isX) {
    std::vector<double> values;
    for (int64_t first = 0; first < in; first += isX ? 128 : in) {
      const T *from = m.as<T>() + row * in + first, *to = from + std::min(isX ? int64_t{128} : in, in - first);
      T low = 0, high = 0;
      for (const T* v = from; v < to; ++v) low = std::min(low, *v), high = std::max(high, *v);
      if (!isX) high = std::max(high, -low), low = -high;
      const T half = high / 2 - low / 2, middle = high / 2 + low / 2, by = half > 0 ? T{127} / half : T{0};
      for (const T* v = from; v < to; ++v) {
        const T scaled = (*v - middle) * by;
        const double n =
            std::nearbyint(isX ? static_cast<double>(static_cast<float>(scaled)) : static_cast<double>(scaled));
        values.push_back(n * static_cast<double>(half) / 127 + static_cast<double>(middle));
      }
    }
    return values;
  };
  std::vector<std::vector<double>> right;
  for (int64_t o = 0; o < out; ++o) right.push_back(stored(w, o, false));
  std::vector<double> want, wantPlain;
  for (int64_t r = 0; r < rows; ++r) {
    const std::vector<double> left = stored(x, r, true);
    for (int64_t o = 0; o < out; ++o) {
      double sum = 0;
      for (int64_t k = 0; k < in; ++k) sum += left[k] * right[o][k];
      wantPlain.push_back(sum);
      want.push_back(sum + static_cast<double>(b.as<T>()[o]));
    }
  }
  const auto product = [&](Tensor* bias) {
    return run(table, Op::linearInt8, params::linearInt8{},
               {&x, const_cast<Tensor*>(&packed[0]), const_cast<Tensor*>(&packed[1]), bias})[0];
  };
  cpu::Team::instance().setThreads(1);
  const Tensor alone = product(&b);
  cpu::Team::instance().setThreads(3);
  CHECK(alone.bytes == product(&b).bytes, "linearInt8: differs with three threads");
  close<T>("linearInt8", alone, want);
  close<T>("linearInt8 without b", product(&none), wantPlain);
  if (rows == 0) return;
  for (int64_t k = 0; k < in; ++k) x.as<T>()[(rows - 1) * in + k] = std::numeric_limits<T>::denorm_min() * T(k % 3);
  const Tensor tiny = product(&b);
  for (int64_t o = 0; o < out; ++o)
    CHECK(tiny.as<T>()[(rows - 1) * out + o] == b.as<T>()[o], "numbers too small to scale are 0");
  for (const T odd : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
    x.as<T>()[(rows - 1) * in + in - 1] = odd;
    const Tensor y = product(&b);
    for (int64_t o = 0; o < out; ++o) CHECK(std::isnan(y.as<T>()[(rows - 1) * out + o]), "a row that is not finite");
    if (rows > 1) CHECK(std::isfinite(y.as<T>()[0]), "and the others");
  }
}

}  // namespace

int main() {
  return onEveryIsa("int8", [](const cpu::Isa& isa, std::mt19937& fresh) {
    rng = fresh;
    for (int round = 0; round < 3; ++round) {
      int8Ops<float>(isa.floats);
      int8Ops<double>(isa.doubles);
    }
  });
}
