#include "kernels/linear/cuda/matmul_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace batchmax::kernels::cuda {
namespace {

cudaDataType_t type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

template <typename T>
void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof value),
        "cublasLtMatmulDescSetAttribute");
}
template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const T& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
        "cublasLtMatmulPreferenceSetAttribute");
}

// Bytes that every row begins at a multiple of, as far as vector accesses care.
uint32_t row_alignment(int64_t elements, DType dtype) {
  uint32_t alignment = 16;
  while (static_cast<uint64_t>(elements) * size_of(dtype) % alignment != 0) alignment /= 2;
  return alignment;
}

}  // namespace

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  int device = -1;
  cudaGetDevice(&device);
  throw std::runtime_error(
      fmt::format("{} failed on CUDA device {}: {}", call, device, cublasLtGetStatusString(status)));
}

MatmulProblem::MatmulProblem(const MatmulShape& shape, int64_t rows, const void* bias) : shape_(shape) {
  check(cublasLtMatmulDescInit(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescInit");
  set(&product_, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (shape.bias) {
    set(&product_, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(&product_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(type_of(shape.out)));
    set(&product_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  const auto n = static_cast<uint64_t>(shape.outputs);
  const auto k = static_cast<uint64_t>(shape.inputs);
  const auto m = static_cast<uint64_t>(rows);
  const char* call = "cublasLtMatrixLayoutInit";
  check(cublasLtMatrixLayoutInit(&weight_, type_of(shape.compute), k, n, shape.inputs), call);
  check(cublasLtMatrixLayoutInit(&x_, type_of(shape.compute), k, m, shape.inputs), call);
  check(cublasLtMatrixLayoutInit(&out_, type_of(shape.out), n, m, shape.outputs), call);
}

std::vector<cublasLtMatmulHeuristicResult_t> MatmulProblem::candidates(cublasLtHandle_t handle,
                                                                       size_t workspace_bytes, int most,
                                                                       bool whole_sums) const {
  cublasLtMatmulPreferenceOpaque_t preference;
  check(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit");
  set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace_bytes));
  const uint32_t reductions =
      whole_sums ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  set(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  const uint32_t in = row_alignment(shape_.inputs, shape_.compute);
  const uint32_t out = row_alignment(shape_.outputs, shape_.out);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, in);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, in);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out);
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(most));
  int count = 0;
  auto* product = const_cast<cublasLtMatmulDescOpaque_t*>(&product_);
  auto* weight = const_cast<cublasLtMatrixLayoutOpaque_t*>(&weight_);
  auto* x = const_cast<cublasLtMatrixLayoutOpaque_t*>(&x_);
  auto* d = const_cast<cublasLtMatrixLayoutOpaque_t*>(&out_);
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, product, weight, x, d, d, &preference,
                                                               most, found.data(), &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
  found.resize(static_cast<size_t>(count));
  std::erase_if(found, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
  if (found.empty()) {
    throw std::runtime_error(fmt::format("cuBLASLt has no way to multiply by {} weights [{}, {}] into {}",
                                         name_of(shape_.compute), shape_.outputs, shape_.inputs,
                                         name_of(shape_.out)));
  }
  return found;
}

cublasStatus_t MatmulProblem::run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm,
                                  const MatmulOperands& operands, void* workspace, size_t workspace_bytes,
                                  cudaStream_t queue) const {
  const float one = 1.0F;
  const float zero = 0.0F;
  auto* product = const_cast<cublasLtMatmulDescOpaque_t*>(&product_);
  auto* weight = const_cast<cublasLtMatrixLayoutOpaque_t*>(&weight_);
  auto* x = const_cast<cublasLtMatrixLayoutOpaque_t*>(&x_);
  auto* out = const_cast<cublasLtMatrixLayoutOpaque_t*>(&out_);
  return cublasLtMatmul(handle, product, &one, operands.weight, weight, operands.x, x, &zero, operands.out,
                        out, operands.out, out, &algorithm, workspace, workspace_bytes, queue);
}

}  // namespace batchmax::kernels::cuda
