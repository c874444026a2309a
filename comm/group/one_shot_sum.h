// All-reduce of small tensors between the GPUs of one machine, in one kernel: every rank shows its values in
// memory that all map (CUDA IPC), tells the others, and sums everything up itself. One trip over the links
// where NCCL makes two or more; the price, N times the bytes, does not count below half a megabyte. Part of a
// build with CUDA only.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "comm/group/control_group.h"
#include "comm/group/device_placement.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::comm {

class OneShotSum {
 public:
  static constexpr size_t kMostBytes = size_t{512} << 10;  // of one tensor
  static constexpr int kMostRanks = 8;

  virtual ~OneShotSum() = default;
  // Tensors of this size and alignment can be summed so; the same on all ranks.
  virtual bool takes(std::span<const kernels::Tensor> tensors) const = 0;
  // REQUIRES takes(). In place, in stream order, recordable; summed in rank order in fp32 and rounded once,
  // as the host groups do.
  virtual void sum(const kernels::Stream& stream, std::span<const kernels::Tensor> tensors) = 0;
};

// Every rank calls this; `control` outlives the result. nullptr on all ranks where one cannot reach the
// memory of all others. The last use on every rank comes before the first end: ending waits for the others.
std::unique_ptr<OneShotSum> make_one_shot_sum(ControlGroup& control, const DevicePlacement& placement,
                                              const kernels::Stream& stream);

}  // namespace batchmax::comm
