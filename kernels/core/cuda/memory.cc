#include "kernels/core/cuda/memory.h"

#include <fmt/format.h>

#include <stdexcept>
#include <string>

#include "kernels/core/cuda/check.h"
#include "kernels/core/cuda/device_code.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kLeastMajor = 8;  // bf16 arithmetic, cp.async, reductions over a warp

std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

double gigabytes(size_t bytes) { return static_cast<double>(bytes) / 1e9; }

[[noreturn]] void refuse(const std::string& what, const std::string& remedy) {
  cudaGetLastError();  // the next call shall not report it again
  throw std::runtime_error(fmt::format("{}: {}, or use --backend cpu", what, remedy));
}

int count_devices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0)
    refuse("this machine has no NVIDIA driver", "install one for CUDA " + version(CUDART_VERSION));
  if (error == cudaErrorInsufficientDriver) {
    refuse(fmt::format("the NVIDIA driver serves CUDA {}, this build needs {}", version(driver),
                       version(CUDART_VERSION)),
           "update the driver");
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice) {
    refuse("no CUDA device is visible", "see nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  fail("cudaGetDeviceCount", error);
}

void require_usable(int device) {
  const int count = count_devices();
  if (device < 0 || device >= count) {
    refuse(fmt::format("there is no CUDA device {}: this machine shows {}", device, count),
           fmt::format("use 0 to {}", count - 1));
  }
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  const std::string name = fmt::format("CUDA device {} ({}) has compute capability {}.{}", device,
                                       properties.name, properties.major, properties.minor);
  if (properties.major < kLeastMajor) refuse(name, fmt::format("use one of {}.0 or later", kLeastMajor));
  check(cudaSetDevice(device), "cudaSetDevice");
  if (!has_code_for_current_device()) {
    refuse(
        name + ", for which this build has no code",
        fmt::format("build with -DCMAKE_CUDA_ARCHITECTURES={}{}-real", properties.major, properties.minor));
  }
}

}  // namespace

void fail(const char* call, cudaError_t error) {
  cudaGetLastError();  // the next call shall not report it again
  int device = -1;
  cudaGetDevice(&device);
  throw std::runtime_error(
      fmt::format("{} failed on CUDA device {}: {}", call, device, cudaGetErrorString(error)));
}

cudaStream_t stream_of(const Stream& stream) {
  check(cudaSetDevice(stream.device()), "cudaSetDevice");
  return static_cast<cudaStream_t>(stream.native());
}

void* create_stream(int device) {
  require_usable(device);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return stream;
}

// While an exception unwinds the device may be gone already: nothing more to report.
void destroy_stream(void* stream) { cudaStreamDestroy(static_cast<cudaStream_t>(stream)); }

void synchronize(const Stream& stream) {
  check(cudaStreamSynchronize(stream_of(stream)), "cudaStreamSynchronize");
}

void* allocate(const Stream& stream, size_t bytes) {
  stream_of(stream);
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    const MemoryInfo info = cuda::memory_info(stream);
    fail(fmt::format("cudaMalloc of {:.3f} GB with {:.3f} of {:.3f} GB free", gigabytes(bytes),
                     gigabytes(info.free), gigabytes(info.total))
             .c_str(),
         error);
  }
  check(error, "cudaMalloc");
  return data;
}

void release(void* data) { cudaFree(data); }

void* allocate_pinned(const Stream& stream, size_t bytes) {
  stream_of(stream);
  void* data = nullptr;
  const cudaError_t error = cudaHostAlloc(&data, bytes, cudaHostAllocDefault);
  if (error != cudaSuccess) {
    fail(fmt::format("cudaHostAlloc of {:.3f} GB page-locked host memory", gigabytes(bytes)).c_str(), error);
  }
  return data;
}

void release_pinned(void* data) { cudaFreeHost(data); }

void upload(const Stream& stream, void* device, const void* host, size_t bytes) {
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_of(stream)),
        "cudaMemcpyAsync to the device");
}

void download(const Stream& stream, void* host, const void* device, size_t bytes) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_of(stream)),
        "cudaMemcpyAsync to the host");
}

void fill_zero(const Stream& stream, void* device, size_t bytes) {
  check(cudaMemsetAsync(device, 0, bytes, stream_of(stream)), "cudaMemsetAsync");
}

MemoryInfo memory_info(const Stream& stream) {
  stream_of(stream);
  MemoryInfo info{};
  check(cudaMemGetInfo(&info.free, &info.total), "cudaMemGetInfo");
  return info;
}

}  // namespace batchmax::kernels::cuda
