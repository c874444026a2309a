// Thread blocks that work on one head together: a thread block cluster (sm_90 and later), whose blocks reach
// into each other's shared memory. In code for older devices a block is alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace batchmax::kernels::cuda {

// Eight are as many as every device with clusters allows.
inline constexpr int kMostClusterBlocks = 8;

// The blocks of a cluster that is to have `blocks`, in this code.
__host__ __device__ constexpr int blocks_here(int blocks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return 1;
#else
  return blocks;
#endif
}

// The same in the device code that was loaded for a kernel.
inline int blocks_loaded(const cudaFuncAttributes& kernel, int blocks) {
  return kernel.ptxVersion >= 90 ? blocks : 1;
}

template <int kBlocks>
struct Cluster {
  // Of this block; the cluster's blocks are neighbours in x.
  __device__ static int32_t rank() { return static_cast<int32_t>(blockIdx.x % kBlocks); }

  // A barrier in two halves, each by all threads of a block. What a thread wrote before it arrived, into the
  // shared memory of other blocks too, is there for all that have waited. Blocks that end do not hold up the
  // rest. start() arrives and says no more than that the block is there to be written to.
  __device__ static void start() {
    if constexpr (kBlocks > 1) {
      __syncwarp();
      asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
    }
  }
  __device__ static void arrive() {
    if constexpr (kBlocks > 1) {
      __syncwarp();
      asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    }
  }
  __device__ static void wait() {
    if constexpr (kBlocks > 1) {
      __syncwarp();
      asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
    } else {
      __syncthreads();
    }
  }

  // Where block `of` has what lies at `own` in this block's shared memory.
  template <typename T>
  __device__ static T* at(T* own, int32_t of) {
    if constexpr (kBlocks == 1) {
      return own;
    } else {
      uint64_t there;
      asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(own), "r"(of));
      return reinterpret_cast<T*>(there);
    }
  }
};

}  // namespace batchmax::kernels::cuda
