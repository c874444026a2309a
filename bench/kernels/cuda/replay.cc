#include "bench/kernels/cuda/replay.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace batchmax::bench {

using kernels::cuda::check;
using kernels::cuda::stream_of;

namespace {

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

Replay::Replay(const kernels::Stream& stream, int sets, const std::function<void(int)>& work)
    : stream_(stream), sets_(sets) {
  const cudaStream_t queue = stream_of(stream);
  for (int set = 0; set < sets; ++set) work(set);
  stream.synchronize();
  cudaGraph_t captured = nullptr;
  check(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  for (int set = 0; set < sets; ++set) work(set);
  check(cudaStreamEndCapture(queue, &captured), "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&graph_, captured, 0), "cudaGraphInstantiate");
  check(cudaGraphDestroy(captured), "cudaGraphDestroy");
}

Replay::~Replay() { cudaGraphExecDestroy(graph_); }

double Replay::median_seconds(int rounds) {
  return bench::median_seconds(
             stream_, rounds,
             [&] { check(cudaGraphLaunch(graph_, stream_of(stream_)), "cudaGraphLaunch"); }) /
         sets_;
}

double median_seconds(const kernels::Stream& stream, int rounds, const std::function<void()>& work) {
  const cudaStream_t queue = stream_of(stream);
  const Event begin, end;
  std::vector<float> times;
  // While memory was being filled the device was idle: its clocks rise within some tens of milliseconds.
  constexpr float kWarmUp = 60;
  float warm_up = 0;
  for (int round = -1; round < rounds; ++round) {
    check(cudaEventRecord(begin, queue), "cudaEventRecord");
    work();
    check(cudaEventRecord(end, queue), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    if (round >= 0) {
      times.push_back(milliseconds);
    } else if ((warm_up += milliseconds) < kWarmUp) {
      --round;
    }
  }
  std::sort(times.begin(), times.end());
  return static_cast<double>(times[times.size() / 2]) * 1e-3;
}

int rotating_sets(const kernels::Stream& stream, double bytes) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, stream.device()), "cudaGetDeviceProperties");
  constexpr int kMost = 64;
  const int needed = static_cast<int>(std::ceil(2.0 * properties.l2CacheSize / bytes));
  return std::clamp(needed + 1, 2, kMost);
}

}  // namespace batchmax::bench
