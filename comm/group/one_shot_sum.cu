// A block owns a slice of the shared buffer, twice. Per call, each block of each rank:
//   1. copies its chunk of the tensor to its slice (own memory)
//   2. writes the call's number to its flag at every rank, and waits until all have written theirs
//   3. reads the chunk of every rank and writes the sum over its own
// Slices alternate with the calls, so no second meeting is needed: a slice is written again two calls later,
// and a block joins the meeting in between only when it has read everything of the call before. The number of
// the call is counted in device memory, by each block for itself: a recorded launch counts on. Bytes: (N − 1)
// times the tensor over the links of each rank, in one trip.
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>

#include "comm/group/one_shot_sum.h"
#include "kernels/core/buffer.h"
#include "kernels/core/cuda/check.h"
#include "kernels/core/cuda/vec.h"
#include "kernels/core/device.h"
#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

using kernels::bf16;
using kernels::DType;
using kernels::Stream;
using kernels::Tensor;
using kernels::cuda::check;

constexpr int kBlocks = 32;  // enough to fill the links, few enough that all run at once on any device
constexpr int kThreads = 512;
constexpr size_t kSliceBytes = OneShotSum::kMostBytes / kBlocks;
constexpr int64_t kLeastChunk = 2048;  // bytes: below, another block costs more than it helps

// What each rank shows to all.
struct Shared {
  uint32_t calls[kBlocks];  // of each block, own
  uint32_t arrived[kBlocks]
                  [OneShotSum::kMostRanks];  // the call that a rank's block has come to, written by that rank
  alignas(256) std::byte slices[kBlocks][2][kSliceBytes];
};
static_assert(sizeof(Shared) < (OneShotSum::kMostBytes * 2) + 4096);

struct Peers {
  Shared* of[OneShotSum::kMostRanks];  // by rank, mapped here
};

__device__ void store_release(uint32_t* to, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
__device__ uint32_t load_acquire(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const Peers peers, int rank, int size, T* values, int64_t vectors, int64_t chunk) {
  using namespace kernels::cuda;
  const auto block = static_cast<int>(blockIdx.x);
  const int64_t begin = block * chunk;
  const int64_t count = min(chunk, vectors - begin);
  Shared* own = peers.of[rank];
  const uint32_t call = own->calls[block] + 1;
  T* mine = values + begin * kVec<T>;
  auto slice = [&](int of) { return reinterpret_cast<T*>(peers.of[of]->slices[block][call & 1]); };

  for (int64_t i = threadIdx.x; i < count; i += kThreads)
    store_vec(slice(rank) + i * kVec<T>, load_vec(mine + i * kVec<T>));
  __threadfence_system();
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < size) {
    store_release(&peers.of[threadIdx.x]->arrived[block][rank], call);
    while (static_cast<int32_t>(load_acquire(&own->arrived[block][threadIdx.x]) - call) < 0) {
    }
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    float sums[kVec<T>] = {};
    for (int of = 0; of < size; ++of) {
      float theirs[kVec<T>];
      to_floats(load_vec(slice(of) + i * kVec<T>), theirs);
#pragma unroll
      for (int e = 0; e < kVec<T>; ++e) sums[e] = of == 0 ? theirs[e] : sums[e] + theirs[e];
    }
    store_vec(mine + i * kVec<T>, from_floats<T>(sums));
  }
  if (threadIdx.x == 0) own->calls[block] = call;
}

class IpcOneShotSum final : public OneShotSum {
 public:
  IpcOneShotSum(ControlGroup& control, const Stream& stream)
      : control_(control),
        rank_(control.rank()),
        size_(control.size()),
        exceptions_(std::uncaught_exceptions()),
        own_(stream, sizeof(Shared)) {
    kernels::fill_zero(stream, own_.data(), sizeof(Shared));
    stream.synchronize();
    cudaIpcMemHandle_t handle{};
    check(cudaIpcGetMemHandle(&handle, own_.data()), "cudaIpcGetMemHandle");
    const std::vector<cudaIpcMemHandle_t> all = exchange(handle);
    for (int rank = 0; rank < size_; ++rank) {
      void* mapped = own_.data();
      if (rank != rank_) {
        check(cudaIpcOpenMemHandle(&mapped, all[static_cast<size_t>(rank)], cudaIpcMemLazyEnablePeerAccess),
              "cudaIpcOpenMemHandle");
      }
      peers_.of[rank] = static_cast<Shared*>(mapped);
    }
    control_.barrier();  // all flags are zero and mapped
  }
  // Memory that others map is not freed before they have let go.
  ~IpcOneShotSum() override {
    if (std::uncaught_exceptions() != exceptions_) return;
    for (int rank = 0; rank < size_; ++rank) {
      if (rank != rank_) cudaIpcCloseMemHandle(peers_.of[rank]);
    }
    control_.barrier();
  }

  bool takes(std::span<const Tensor> tensors) const override {
    for (const Tensor& tensor : tensors) {
      const bool aligned = reinterpret_cast<uintptr_t>(tensor.data()) % 16 == 0 && tensor.bytes() % 16 == 0;
      if (!aligned || tensor.bytes() > kMostBytes) return false;
    }
    return true;
  }

  void sum(const Stream& stream, std::span<const Tensor> tensors) override {
    const cudaStream_t native = kernels::cuda::stream_of(stream);
    for (const Tensor& tensor : tensors) {
      if (tensor.bytes() == 0) continue;
      const auto vectors = static_cast<int64_t>(tensor.bytes() / 16);
      const int64_t chunk = std::max(kernels::cuda::ceil_div(vectors, kBlocks), kLeastChunk / 16);
      const auto blocks = static_cast<unsigned>(kernels::cuda::ceil_div(vectors, chunk));
      kernels::cuda::on_float_type(tensor.dtype(), [&](auto zero) {
        using T = decltype(zero);
        sum_kernel<T><<<blocks, kThreads, 0, native>>>(peers_, rank_, size_, tensor.as<T>(), vectors, chunk);
      });
      kernels::cuda::check_launch("one-shot all-reduce");
    }
  }

 private:
  std::vector<cudaIpcMemHandle_t> exchange(const cudaIpcMemHandle_t& handle) {
    std::vector<std::byte> bytes(sizeof handle);
    std::memcpy(bytes.data(), &handle, sizeof handle);
    std::vector<std::byte> joined;
    for (const auto& one : control_.gather(bytes)) joined.insert(joined.end(), one.begin(), one.end());
    joined = control_.broadcast(std::move(joined));
    std::vector<cudaIpcMemHandle_t> all(static_cast<size_t>(size_));
    CHECK_EQ(joined.size(), all.size() * sizeof handle);
    std::memcpy(all.data(), joined.data(), joined.size());
    return all;
  }

  ControlGroup& control_;
  const int rank_;
  const int size_;
  const int exceptions_;  // in flight when it was made
  kernels::Buffer own_;
  Peers peers_{};
};

// Whether this rank reaches the memory of all: on its own GPU, or over a link.
bool reaches_all(const DevicePlacement& placement, int rank, const Stream& stream) {
  const DevicePlace& own = placement.places[static_cast<size_t>(rank)];
  for (const DevicePlace& place : placement.places) {
    if (place.machine != own.machine) return false;
    if (place.bus != own.bus && !kernels::has_peer_access(stream, place.bus)) return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<OneShotSum> make_one_shot_sum(ControlGroup& control, const DevicePlacement& placement,
                                              const Stream& stream) {
  if (control.size() == 1 || control.size() > OneShotSum::kMostRanks) return nullptr;
  bool all = true;
  const auto mine = static_cast<std::byte>(reaches_all(placement, control.rank(), stream));
  for (const auto& theirs : control.gather({mine})) all = all && theirs.at(0) != std::byte{0};
  if (control.broadcast({static_cast<std::byte>(all)}).at(0) == std::byte{0}) return nullptr;
  return std::make_unique<IpcOneShotSum>(control, stream);
}

}  // namespace batchmax::comm
