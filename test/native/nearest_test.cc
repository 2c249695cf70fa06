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

// The same in some cells of int8 rows w, against all products of those.
template <class T>
void expectWithin(const cpu::Kernels* table, int64_t rows, int64_t d, const std::vector<int64_t>& offsets,
                  int64_t looks, int64_t most) {
  const int64_t count = offsets.back(), cells = static_cast<int64_t>(offsets.size()) - 1;
  const Tensor x = wholeNumbers<T>(rows, d, 3);
  std::vector<int8_t> values;
  for (int64_t i = 0; i < count * d; ++i) values.push_back(static_cast<int8_t>(number(-3, 3)));
  std::vector<T> factors;
  for (int64_t i = 0; i < count; ++i) factors.push_back(T(number(1, 2)));
  std::vector<int32_t> chosen;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<int32_t> all(cells);
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), rng);
    for (int64_t i = 0; i < looks; ++i) chosen.push_back(i < cells && number(0, 9) > 0 ? all[i] : -1);
  }
  if (rows > 0) chosen[0] = static_cast<int32_t>(cells);  // is not there
  Tensor w = make<int8_t>({count, d}, values), scales = make<T>({count}, factors),
         cellOffsets = make<int64_t>({cells + 1}, offsets), among = make<int32_t>({rows, looks}, chosen);
  const auto find = [&](int threads) {
    cpu::Team::instance().setThreads(threads);
    return run(table, Op::nearestWithin, params::nearestWithin{most},
               {const_cast<Tensor*>(&x), &w, &scales, &cellOffsets, &among});
  };
  const std::vector<Tensor> found = find(1);
  const std::vector<Tensor> again = find(3);
  CHECK(found[0].bytes == again[0].bytes && found[1].bytes == again[1].bytes, "nearestWithin: differs with threads");
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<std::pair<T, int32_t>> products;
    for (int64_t i = 0; i < looks; ++i) {
      const int32_t cell = chosen[r * looks + i];
      if (cell < 0 || cell >= cells) continue;
      for (int64_t row = offsets[cell]; row < offsets[cell + 1]; ++row) {
        T product = 0;
        for (int64_t k = 0; k < d; ++k) product += x.as<T>()[r * d + k] * static_cast<T>(values[row * d + k]);
        products.push_back({-product * factors[row], static_cast<int32_t>(row)});
      }
    }
    std::sort(products.begin(), products.end());
    for (int64_t i = 0; i < most; ++i) {
      const bool none = i >= static_cast<int64_t>(products.size());
      CHECK(found[1].as<int32_t>()[r * most + i] == (none ? -1 : products[i].second),
            "nearestWithin: row %d at place %d", found[1].as<int32_t>()[r * most + i], static_cast<int>(i));
      CHECK(found[0].as<T>()[r * most + i] == (none ? -std::numeric_limits<T>::infinity() : -products[i].first),
            "nearestWithin: score at place %d", static_cast<int>(i));
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

  for (int round = 0; round < 8; ++round) {
    std::vector<int64_t> offsets{0};
    for (int64_t cells = number(1, 12); cells > 0; --cells) offsets.push_back(offsets.back() + number(0, 50));
    if (offsets.back() == 0) offsets.back() = 1;
    expectWithin<T>(table, number(0, 20), number(1, 70), offsets, number(1, 8),
                    number(1, std::min<int64_t>(offsets.back(), 40)));
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
