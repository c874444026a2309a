// What the memory of a rank's backend is spent on, settled once at start: weights, the workspace of the
// largest step, graphs, and the KV cache gets the rest of what it may use. Pure functions over sizes; who
// allocates is replica.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/core/dtype.h"
#include "worker/model/model_config.h"

namespace batchmax::worker {

// Bytes of the weights that one of `ranks` ranks holds, at most some per mille off.
uint64_t weight_bytes(const ModelConfig& model, int32_t ranks, kernels::DType compute);

// Of a GPU, before the KV cache is allocated.
struct DeviceMemory {
  uint64_t total = 0;
  uint64_t free = 0;
  int32_t sharers = 1;     // ranks of the group on it, all as far as this one
  uint64_t weights = 0;    // this rank's, allocated already
  uint64_t workspace = 0;  // likewise
  uint64_t graphs = 0;     // this rank's, to come
  double utilization = 0;  // share of `total` to use
};

// This rank's KV cache: its part of what `utilization` leaves; 0 where nothing is left.
uint64_t kv_share(const DeviceMemory& memory);

// Weights and workspace do not fit `free`: what is there, what is needed, what would work. Empty: they fit.
std::optional<std::string> weights_do_not_fit(const ModelConfig& model, int32_t ranks, kernels::DType compute,
                                              uint64_t workspace, uint64_t free);

// "139.8 GiB: weights 24.2, workspace 1.1, graphs 0.1, other 0.9, KV 99.4"
std::string describe_memory(const DeviceMemory& memory, uint64_t kv);

}  // namespace batchmax::worker
