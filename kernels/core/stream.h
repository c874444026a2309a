// A Stream is the queue that an op's work goes to, and names the backend that runs it.
// cpu: work runs at once on the calling thread (and its OpenMP team). cuda: one CUDA stream of one device.
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace batchmax::kernels {

enum class Backend : uint8_t { cpu, cuda };

class Stream {
 public:
  static Stream cpu();
  static Stream cuda(int device);  // exception when there is no such device or this build has no CUDA
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  Backend backend() const { return backend_; }
  int device() const { return device_; }
  void* native() const { return native_; }  // cudaStream_t; nullptr on cpu
  void synchronize() const;                 // all work handed over so far is done

 private:
  Stream(Backend backend, int device, void* native) : backend_(backend), device_(device), native_(native) {}
  Backend backend_;
  int device_;
  void* native_;
};

}  // namespace batchmax::kernels
