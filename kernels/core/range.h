// Names a stretch of host work for a profiler's time line (NVTX; Nsight Systems shows it above the kernels it
// launched). A few nanoseconds without a profiler, nothing in a build without CUDA. Ranges of a thread nest.
#pragma once

namespace batchmax::kernels {

class Range {
 public:
  explicit Range(const char* name);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace batchmax::kernels
