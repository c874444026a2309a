#include "kernels/core/cuda/event.h"

#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

// One thread, 8 bytes: a mark costs the stream a launch and nothing else. Marks, not timed events: a graph
// that is replayed before the host has read the last replay's times would overwrite those of its own event
// nodes.
__global__ void write_time(int64_t* nanoseconds) {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  *nanoseconds = static_cast<int64_t>(now);
}

}  // namespace

void* create_event(const Stream& stream) {
  stream_of(stream);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | cudaEventDisableTiming),
        "cudaEventCreateWithFlags");
  return event;
}

void destroy_event(void* event) { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }

void record(void* event, const Stream& stream) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(event), stream_of(stream)), "cudaEventRecord");
}

void wait(void* event) {
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "cudaEventSynchronize");
}

void mark_time(const Stream& stream, int64_t* nanoseconds) {
  write_time<<<1, 1, 0, stream_of(stream)>>>(nanoseconds);
  check_launch("write_time");
}

}  // namespace batchmax::kernels::cuda
