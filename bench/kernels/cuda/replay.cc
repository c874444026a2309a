#include "bench/kernels/cuda/replay.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace batchmax::bench {

using kernels::cuda::check;
using kernels::cuda::stream_of;

Replay::Replay(const kernels::Stream& stream, int sets, const std::function<void(int)>& work)
    : stream_(stream), sets_(sets) {
  const cudaStream_t queue = stream_of(stream);
  check(cudaEventCreate(&begin_), "cudaEventCreate");
  check(cudaEventCreate(&end_), "cudaEventCreate");
  for (int set = 0; set < sets; ++set) work(set);
  stream.synchronize();
  cudaGraph_t captured = nullptr;
  check(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  for (int set = 0; set < sets; ++set) work(set);
  check(cudaStreamEndCapture(queue, &captured), "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&graph_, captured, 0), "cudaGraphInstantiate");
  check(cudaGraphDestroy(captured), "cudaGraphDestroy");
}

Replay::~Replay() {
  cudaGraphExecDestroy(graph_);
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
}

double Replay::seconds() {
  const cudaStream_t queue = stream_of(stream_);
  check(cudaEventRecord(begin_, queue), "cudaEventRecord");
  check(cudaGraphLaunch(graph_, queue), "cudaGraphLaunch");
  check(cudaEventRecord(end_, queue), "cudaEventRecord");
  check(cudaEventSynchronize(end_), "cudaEventSynchronize");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
  return static_cast<double>(milliseconds) * 1e-3 / sets_;
}

double Replay::median_seconds(int rounds) {
  seconds();
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) times.push_back(seconds());
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

int rotating_sets(const kernels::Stream& stream, double bytes) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, stream.device()), "cudaGetDeviceProperties");
  constexpr int kMost = 64;
  const int needed = static_cast<int>(std::ceil(2.0 * properties.l2CacheSize / bytes));
  return std::clamp(needed + 1, 2, kMost);
}

}  // namespace batchmax::bench
