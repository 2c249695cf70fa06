// The largest products of rows against a sort of all of them, on whole numbers, whose products are exact and often
// equal; the same for any number of threads.
#include <algorithm>
#include <numeric>

#include "../../native/cpu/team.h"
#include "compare.h"

using namespace lateforge;
using namespace lateforge::testing;

namespace {

template <class T>
Tensor wholeNumbers(int64_t rows, int64_t d, int64_t largest) {
  std::vector<T> values;
  for (int64_t i = 0; i < rows * d; ++i) values.push_back(T(number(-largest, largest)));
  return make<T>({rows, d}, values);
}

template <class T>
void expectSorted(const cpu::Kernels* table, const Tensor& x, const Tensor& w, int64_t most) {
  const int64_t rows = x.meta.dims[0], d = x.meta.dims[1], count = w.meta.dims[0];
  const auto find = [&](int threads) {
    cpu::Team::instance().setThreads(threads);
    return run(table, Op::nearest, params::nearest{most}, {const_cast<Tensor*>(&x), const_cast<Tensor*>(&w)});
  };
  const std::vector<Tensor> found = find(1);
  const std::vector<Tensor> again = find(3);
  CHECK(found[0].bytes == again[0].bytes && found[1].bytes == again[1].bytes, "nearest: differs with three threads");
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<T> products(count);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t k = 0; k < d; ++k) products[i] += x.as<T>()[r * d + k] * w.as<T>()[i * d + k];
    std::vector<int32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return products[a] > products[b]; });
    for (int64_t i = 0; i < most; ++i) {
      CHECK(found[1].as<int32_t>()[r * most + i] == order[i], "nearest: row %d at place %d, expected %d",
            found[1].as<int32_t>()[r * most + i], static_cast<int>(i), order[i]);
      CHECK(found[0].as<T>()[r * most + i] == products[order[i]], "nearest: score at place %d", static_cast<int>(i));
    }
  }
}

template <class T>
void suite(const cpu::Kernels* table) {
  for (int round = 0; round < 6; ++round) {
    const int64_t count = number(1, 900), d = number(1, 70);
    expectSorted<T>(table, wholeNumbers<T>(number(0, 50), d, 3), wholeNumbers<T>(count, d, 3),
                    number(1, std::min<int64_t>(count, 40)));
  }
  // Every list is full of equal ones, and the largest come last.
  expectSorted<T>(table, wholeNumbers<T>(3, 4, 0), wholeNumbers<T>(5000, 4, 1), 16);
  std::vector<T> rising(5000);
  std::iota(rising.begin(), rising.end(), T{0});
  expectSorted<T>(table, make<T>({2, 1}, std::vector<T>{1, -1}), make<T>({5000, 1}, rising), 5000);

  // What is no number is never found, and what is not finite does not disturb other rows.
  constexpr T kInfinity = std::numeric_limits<T>::infinity(), kOdd = std::numeric_limits<T>::quiet_NaN();
  Tensor x = make<T>({2, 1}, std::vector<T>{1, kOdd}),
         w = make<T>({4, 1}, std::vector<T>{kOdd, -kInfinity, 2, kInfinity});
  const std::vector<Tensor> found = run(table, Op::nearest, params::nearest{4}, {&x, &w});
  const int32_t rows[] = {3, 2, -1, -1, -1, -1, -1, -1};
  for (int i = 0; i < 8; ++i) {
    CHECK(found[1].as<int32_t>()[i] == rows[i], "nearest: %d of rows that are not finite", i);
    CHECK(rows[i] >= 0 || found[0].as<T>()[i] == -kInfinity, "nearest: the score of none");
  }
}

}  // namespace

int main() {
  return onEveryIsa("nearest", [](const cpu::Isa& isa, std::mt19937& fresh) {
    rng = fresh;
    suite<float>(isa.floats);
    suite<double>(isa.doubles);
  });
}
