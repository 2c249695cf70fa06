// Runs one op through core's checks and a chosen kernel table, without Node or a stream. Tests are plain programs.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "../../native/cpu/table.h"
#include "../../native/cpu/team.h"
#include "../../native/ops/shapes.h"
#include "check.h"
#include "seed.h"

namespace lateforge::testing {

template <class T>
constexpr DType dtypeOf() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, int64_t>) return DType::i64;
  if constexpr (std::is_same_v<T, uint8_t>) return DType::u8;
  if constexpr (std::is_same_v<T, uint16_t>) return DType::u16;
  if constexpr (std::is_same_v<T, int8_t>) return DType::i8;
}

// Memory aligned as the runtime's allocator aligns it.
template <class T>
struct Aligned {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kAlignment); }
  bool operator==(const Aligned&) const { return true; }
};
using Bytes = std::vector<char, Aligned<char>>;

struct Tensor {
  Meta meta;
  Bytes bytes;

  template <class T>
  T* as() {
    return reinterpret_cast<T*>(bytes.data());
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
};

inline Tensor none() { return {}; }

template <class T>
Tensor make(std::initializer_list<int64_t> dims, const std::vector<T>& values) {
  Tensor t{Meta::of(dtypeOf<T>(), dims), {}};
  t.bytes.resize(static_cast<size_t>(t.meta.bytes()));
  if (t.meta.count() != static_cast<int64_t>(values.size())) std::abort();
  if (!values.empty()) std::memcpy(t.bytes.data(), values.data(), t.bytes.size());
  if constexpr (std::is_integral_v<T>) {
    auto facts = std::make_shared<IntFacts>();
    for (size_t i = 0; i < values.size(); ++i) {
      facts->min = i ? std::min<int64_t>(facts->min, values[i]) : values[i];
      facts->max = i ? std::max<int64_t>(facts->max, values[i]) : values[i];
      if (i && values[i] <= values[i - 1]) facts->increasing = false;
    }
    if constexpr (std::is_same_v<T, int64_t>) facts->values = std::make_shared<const std::vector<int64_t>>(values);
    if constexpr (std::is_same_v<T, int32_t>) facts->counts = std::make_shared<const std::vector<int32_t>>(values);
    t.meta.facts = facts;
  }
  return t;
}

template <class T>
Tensor random(std::initializer_list<int64_t> dims, std::mt19937& rng, double scale = 1) {
  std::normal_distribution<double> normal(0, scale);
  std::vector<T> values(static_cast<size_t>(Meta::of(dtypeOf<T>(), dims).count()));
  for (T& v : values) v = static_cast<T>(normal(rng));
  return make<T>(dims, values);
}

// Segments from lengths.
inline Tensor segments(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> offsets{0};
  for (int64_t n : lengths) offsets.push_back(offsets.back() + n);
  return make<int64_t>({static_cast<int64_t>(offsets.size())}, offsets);
}

inline View viewOf(Tensor& t) {
  View v;
  v.data = t.bytes.data();
  v.dtype = t.meta.dtype;
  v.rank = t.meta.rank;
  std::memcpy(v.dims, t.meta.dims, sizeof v.dims);
  if (t.meta.facts && t.meta.facts->values) v.longest = longest(t.meta);
  return v;
}

// The team's threads while an op runs, where that is not what they were when it was issued. 0: no change.
inline int threadsAtRun = 0;

// Inputs marked + or ! are changed in place. Outputs and workspace are poisoned with 0x7f bytes (large finite or NaN)
// first; what lies behind the workspace must stay as it is.
template <class P>
std::vector<Tensor> run(const cpu::Kernels* table, Op op, const P& params, std::vector<Tensor*> inputs) {
  OpCall call{};
  call.op = op;
  Meta in[kMaxInputs];
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i]) {
      in[i] = inputs[i]->meta;
      if (in[i].present()) call.in[i] = viewOf(*inputs[i]);
    }
  Inferred inferred;
  const Status status = infer(op, &params, in, inferred);
  if (!status.ok()) {
    std::printf("%s %s\n", status.code.c_str(), status.message.c_str());
    std::abort();
  }
  std::vector<Tensor> out(specOf(op).outputs.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].meta = inferred.out[i];
    if (!out[i].meta.present()) continue;
    out[i].bytes.assign(static_cast<size_t>(out[i].meta.bytes()), 0x7f);
    call.out[i] = viewOf(out[i]);
  }
  std::memcpy(call.params, &params, sizeof(P) <= sizeof(call.params) ? sizeof(P) : sizeof(call.params));
  call.workspaceBytes = table->workspace(call);
  constexpr size_t kGuard = 256;
  Bytes workspace(static_cast<size_t>(call.workspaceBytes) + kGuard, 0x7f);
  call.workspace = workspace.data();
  const int threads = cpu::Team::instance().threads();
  if (threadsAtRun) cpu::Team::instance().setThreads(threadsAtRun);
  char error[kErrorBytes] = "";
  if (table->op[static_cast<int>(op)](call, error)) {
    std::printf("%s failed: %s\n", specOf(op).name, error);
    std::abort();
  }
  if (threadsAtRun) cpu::Team::instance().setThreads(threads);
  for (size_t i = 0; i < kGuard; ++i)
    CHECK(workspace[workspace.size() - kGuard + i] == 0x7f, "%s writes %zu bytes behind its workspace of %lld",
          specOf(op).name, i, static_cast<long long>(call.workspaceBytes));
  return out;
}

#ifdef LF_EMULATION
// The CUDA kernels, run on the host on copies of the operands (test/native/cuda/table.cc).
const cpu::Kernels* emulationTable();
#endif

// Runs `suite` on the kernel tables of every instruction set this processor has, with one seed for all.
inline int onEveryIsa(const char* name, const std::function<void(const cpu::Isa&, std::mt19937&)>& suite) {
  const unsigned seed = testSeed();
#ifdef LF_EMULATION
  std::mt19937 rng(seed);
  suite({"cuda-host", emulationTable(), cpu::portable::kernelTable<double>(), false}, rng);  // float64 stays the CPU's
  return finish(name);
#else
  for (const char* isa : {"portable", "avx2", "avx512"}) {
    setenv("LATEFORGE_ISA", isa, 1);
    char error[kErrorBytes];
    const cpu::Isa* chosen = cpu::chooseIsa(error);
    if (!chosen) {
      std::printf("skipped: %s\n", error);
      continue;
    }
    std::printf("%s\n", isa);
    std::mt19937 rng(seed);
    suite(*chosen, rng);
  }
  return finish(name);
#endif
}

}  // namespace lateforge::testing
