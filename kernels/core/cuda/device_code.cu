#include "kernels/core/cuda/device_code.h"

#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {
// Never runs; compiled for the same architectures as every kernel of this build.
__global__ void probe() {}
}  // namespace

bool has_code_for_current_device() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, probe);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();  // the next call shall not report it again
    return false;
  }
  check(error, "cudaFuncGetAttributes");
  return true;
}

}  // namespace batchmax::kernels::cuda
