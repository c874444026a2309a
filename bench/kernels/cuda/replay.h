// Times calls of an op on the device. The calls are captured into one CUDA graph, so that launches cost next
// to nothing, and each works on memory of its own, so that none finds its inputs in the L2 cache.
#pragma once

#include <functional>

#include "kernels/core/cuda/check.h"
#include "kernels/core/stream.h"

namespace batchmax::bench {

class Replay {
 public:
  // Runs work(0) … work(sets − 1) once to warm up, then captures them. `work` only launches on `stream`.
  Replay(const kernels::Stream& stream, int sets, const std::function<void(int)>& work);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  ~Replay();

  // Of one call: a replay's time divided by `sets`, the median of `rounds` replays after one that does not
  // count.
  double median_seconds(int rounds);

 private:
  const kernels::Stream& stream_;
  int sets_;
  cudaGraphExec_t graph_ = nullptr;
};

// Median of `rounds` runs of `work`, which launches on `stream`, each between two events; after one that does
// not count. For what takes far longer than its launch.
double median_seconds(const kernels::Stream& stream, int rounds, const std::function<void()>& work);

// How many sets of `bytes` a call must rotate among to find nothing cached: at least twice the L2 cache in
// all.
int rotating_sets(const kernels::Stream& stream, double bytes);

}  // namespace batchmax::bench
