// The TensorGroup of device memory, over NCCL: one communicator, work in stream order, calls that graphs may
// record. Part of a build with CUDA only (kernels::kCudaBuilt).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"

namespace batchmax::comm {

struct NcclGroup {
  std::unique_ptr<TensorGroup> group;
  int sharers = 1;          // ranks of the group on this rank's GPU
  std::string description;  // "NCCL 2.28.9, 2 ranks, peer access between all GPUs, transport P2P/CUMEM"
};

// How small tensors are summed: by NCCL too, or in one trip by a kernel of ours (one_shot_sum.h) where all
// GPUs reach each other's memory.
enum class SmallSums : uint8_t { nccl, one_shot };

// Every rank of the group calls this with a stream of the device that all later calls run on; the
// communicator's id travels over `control`, which outlives the group. Graphs that recorded calls of the group
// end before it. All its memory is allocated here.
//   Sums: by NCCL in its order of ranks, fp32 in fp32, bf16 rounded at every addition; in one trip as
//   one_shot_sum.h says. The same bits on all ranks; other bits than another number of ranks gives.
// Throws std::runtime_error on two ranks that share a GPU, and naming NCCL's call, rank and device. A group
// whose work failed is not ended orderly (peers may be gone, and NCCL would wait for them): the process is to
// _exit.
NcclGroup make_nccl_tensor_group(ControlGroup& control, const kernels::Stream& stream, SmallSums small_sums);

}  // namespace batchmax::comm
