// Attention's ops on the device: a case, its inputs, and what runs it. Used by the test and by the ladder.
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>
#include <sstream>

#include "../../../native/cuda/device/number.cuh"
#include "../../../native/cuda/ops.h"
#include "device.h"

namespace lateforge::testing {

struct Case {
  std::vector<int64_t> lengths;
  std::vector<int32_t> keys;  // empty: all rows are keys
  int64_t heads, headDim, window;
  double dropout;

  int64_t sequences() const { return static_cast<int64_t>(lengths.size()); }
  int64_t rows() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
  std::vector<int64_t> offsets() const {
    std::vector<int64_t> all{0};
    for (const int64_t n : lengths) all.push_back(all.back() + n);
    return all;
  }
  std::string text() const {
    std::ostringstream text;
    text << "lengths";
    for (const int64_t n : lengths) text << ' ' << n;
    if (!keys.empty()) text << ", keys";
    for (const int32_t n : keys) text << ' ' << n;
    text << ", heads " << heads << ", head dim " << headDim << ", window " << window << ", dropout " << dropout;
    return text.str();
  }
};

constexpr int64_t kSite = 9;

struct Inputs {
  std::vector<double> qkv, dO;
  std::vector<int32_t> seeds;
};

struct Results {
  std::vector<double> o, lse, dqkv;
};

template <class T>
double wideOf(T x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return cuda::widen(x);
}
template <class T>
std::vector<double> wide(const std::vector<T>& values) {
  std::vector<double> all;
  for (const T v : values) all.push_back(wideOf(v));
  return all;
}
template <class T>
std::vector<T> narrowed(const std::vector<double>& values) {
  std::vector<T> all;
  for (const double v : values) all.push_back(cuda::narrow<T>(static_cast<float>(v)));
  return all;
}

// Normal numbers that T holds exactly.
template <class T>
Inputs inputsOf(const Case& c) {
  std::normal_distribution<double> normal;
  Inputs in;
  auto fill = [&](std::vector<double>& v, int64_t count) {
    v.resize(static_cast<size_t>(count));
    for (double& x : v) x = normal(generator());
    v = wide(narrowed<T>(v));
  };
  fill(in.qkv, c.rows() * 3 * c.heads * c.headDim);
  fill(in.dO, c.rows() * c.heads * c.headDim);
  for (int64_t i = 0; i < 2 * c.sequences(); ++i) in.seeds.push_back(static_cast<int32_t>(generator()()));
  return in;
}

template <class T>
class Runner {
 public:
  Runner(const Case& c, const Inputs& in, int64_t sharedLimit = testing::sharedLimit())
      : c_(c),
        sharedLimit_(sharedLimit),
        qkv_(narrowed<T>(in.qkv)),
        dO_(narrowed<T>(in.dO)),
        o_(in.dO.size()),
        dqkv_(in.qkv.size()),
        lse_(static_cast<size_t>(c.rows() * c.heads)),
        workspace_(2 * 4 * static_cast<size_t>(c.rows() * c.heads)),
        segments_(c.offsets()),
        keys_(c.keys),
        seeds_(in.seeds) {}

  void forward() const {
    call(Op::attention, cuda::ops::attention, params::attention{c_.heads, c_.window, c_.dropout, kSite},
         {packed(qkv_), segments(), keys(), seeds()}, {plain(o_), lse()});
  }
  void backward() const {
    call(Op::attentionBackward, cuda::ops::attentionBackward,
         params::attentionBackward{c_.heads, c_.window, c_.dropout, kSite},
         {packed(qkv_), plain(o_), lse(), plain(dO_), segments(), keys(), seeds()}, {packed(dqkv_)});
  }
  void operator()() const {
    forward();
    backward();
#ifdef __CUDACC__
    const cudaError_t status = cudaStreamSynchronize(testStream());
    CHECK(status == cudaSuccess, "%s", cudaGetErrorString(status));
#endif
  }
  Results results() const { return {wide(o_.values()), wide(lse_.values()), wide(dqkv_.values())}; }

 private:
  static constexpr DType kType = sizeof(T) == 4 ? DType::f32 : DType::bf16;

  View packed(const Buffer<T>& b) const { return b.view(kType, {c_.rows(), 3 * c_.heads * c_.headDim}); }
  View plain(const Buffer<T>& b) const { return b.view(kType, {c_.rows(), c_.heads * c_.headDim}); }
  View lse() const { return lse_.view(DType::f32, {c_.rows(), c_.heads}); }
  View segments() const { return segments_.view(DType::i64, {c_.sequences() + 1}); }
  View keys() const { return c_.keys.empty() ? View{} : keys_.view(DType::i32, {c_.sequences()}); }
  View seeds() const { return c_.dropout > 0 ? seeds_.view(DType::i32, {c_.sequences(), 2}) : View{}; }

  // An op through its entry point.
  template <class P>
  void call(Op op, cuda::CudaOp function, const P& params, std::initializer_list<View> in,
            std::initializer_list<View> out) const {
    OpCall call{};
    call.op = op;
    std::memcpy(call.params, &params, sizeof params);
    std::copy(in.begin(), in.end(), call.in);
    std::copy(out.begin(), out.end(), call.out);
    const View workspace = workspace_.view(DType::u8, {2 * lse().bytes()});
    call.workspace = workspace.data;
    call.workspaceBytes = workspace.bytes();
    char error[kErrorBytes] = "";
    cuda::Context context{testStream(), sharedLimit_, nullptr, error};
    CHECK(function(call, context) == 0, "%s", error);
  }

  const Case& c_;
  int64_t sharedLimit_;
  Buffer<T> qkv_, dO_, o_, dqkv_;
  Buffer<float> lse_;
  Buffer<char> workspace_;
  Buffer<int64_t> segments_;
  Buffer<int32_t> keys_, seeds_;
};

}  // namespace lateforge::testing
