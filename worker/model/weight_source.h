// Where weights come from: a checkpoint, or random numbers of the same shapes. Values arrive as fp32 or bf16
// on the host, already cut to what a rank holds.
#pragma once

#include <memory>
#include <string>

#include "kernels/core/dtype.h"
#include "worker/model/checkpoint.h"

namespace batchmax::worker {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual void matrix(const std::string& name, const Checkpoint::Part& part, kernels::DType dtype,
                      void* to) = 0;
  virtual void vector(const std::string& name, int64_t all, int64_t begin, int64_t count,
                      kernels::DType dtype, void* to) = 0;
  virtual bool has(const std::string& name) const = 0;
  // Throws where there are tensors whose names begin so.
  virtual void refuse(const std::string& prefix, const std::string& reason) = 0;
};

std::unique_ptr<WeightSource> checkpoint_source(const std::string& folder);
// Matrices are uniform with variance 1 / columns, vectors near 1 (norms). The same on every rank: element (i,
// j) of a tensor depends on seed, name, i and j only.
std::unique_ptr<WeightSource> dummy_source(uint64_t seed);

}  // namespace batchmax::worker
