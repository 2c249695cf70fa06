// Reductions over a block, in a fixed order: a butterfly in each warp, then the warps in turn. Every lane gets the
// result. `scratch` holds one value per warp and may be used again at once.
#pragma once

#include "shared.cuh"
#include "warp.cuh"

namespace lateforge::cuda {

template <int threads, class T>
LF_DEVICE T blockSum(T value, Shared<T> scratch, Site site = Site::current()) {
  value = warpSum(value, site);
  syncThreads(site);  // the scratch is free
  if (lane() == 0) scratch[warp()] = value;
  syncThreads(site);
  T sum = scratch[0];
  for (int w = 1; w < threads / kWarp; ++w) sum += scratch[w];
  return sum;
}

// NaN stays.
template <int threads, class T>
LF_DEVICE T blockMax(T value, Shared<T> scratch, Site site = Site::current()) {
  value = warpMax(value, site);
  syncThreads(site);
  if (lane() == 0) scratch[warp()] = value;
  syncThreads(site);
  T most = scratch[0];
  for (int w = 1; w < threads / kWarp; ++w) most = maximum(most, static_cast<T>(scratch[w]));
  return most;
}

}  // namespace lateforge::cuda
