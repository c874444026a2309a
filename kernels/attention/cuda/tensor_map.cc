#include "kernels/attention/cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

#include "kernels/core/cuda/check.h"
#include "kernels/core/kv_view.h"

namespace batchmax::kernels::cuda {

CUtensorMap rows_of_heads(const void* data, int64_t rows, int64_t heads, int64_t head_dim) {
  // The driver's function through the runtime: nothing links the driver, which a machine may lack.
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
      "cudaGetDriverEntryPointByVersion");
  if (found != cudaDriverEntryPointSuccess)
    throw std::runtime_error("the CUDA driver has no cuTensorMapEncodeTiled");
  const auto columns = static_cast<uint32_t>(head_dim == 96 ? 32 : 64);
  const uint64_t extents[] = {static_cast<uint64_t>(head_dim), static_cast<uint64_t>(heads),
                              static_cast<uint64_t>(rows)};
  const uint64_t strides[] = {extents[0] * 2, extents[0] * extents[1] * 2};
  const uint32_t box[] = {columns, 1, kPageSlots};
  const uint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), extents, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, head_dim == 96 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw std::runtime_error("cuTensorMapEncodeTiled failed: CUresult " + std::to_string(result));
  }
  return map;
}

}  // namespace batchmax::kernels::cuda
