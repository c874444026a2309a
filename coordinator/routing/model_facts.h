// The model that the cluster serves, as far as the coordinator must know it. A plain value.
#pragma once

#include <cstdint>
#include <vector>

namespace batchmax::coordinator {

// What the groups said of their model in Hello; equal for all groups.
struct ModelFacts {
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;
  std::vector<int32_t> eos_ids;
  uint64_t kv_bytes_per_slot = 0;
  int32_t capacity_pages = 0;  // of the largest group
};

}  // namespace batchmax::coordinator
