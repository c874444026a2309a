// Tensor cores through mma.sync (compute capability 8.0 and later): bf16 tiles in shared memory, fragments in
// registers, fp32 sums.
//
// Fragments of m16n8k16, with lane = 4 · group + quad (group 0..7, quad 0..3):
//   A [16 × 16]: a[0] row group, a[1] row group + 8, columns 2·quad and 2·quad + 1; a[2], a[3] the same 8
//   columns on B [16 × 8]:  b0 rows 2·quad and 2·quad + 1, b1 the same 8 rows on, column group C [16 × 8]:
//   c[0], c[1] row group, columns 2·quad and 2·quad + 1; c[2], c[3] row group + 8
// So C of one product is half of an A of the next, once it is rounded to bf16.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"

namespace batchmax::kernels::cuda {

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// c += A · B
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 × 8 matrices; lane 8·i + r gives the address of row r of matrix i. The `transposed` one hands out
// columns.
__device__ inline void load_matrices(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// Asynchronous copy of 16 bytes to shared memory, past the first-level cache; zeros where not `valid` (`from`
// is not read then).
__device__ inline void copy_async(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(to), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `kLeft` of this thread's latest groups are under way.
template <int kLeft>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// Arrives at a barrier (an address of shared memory) once all copies of this thread so far are there; one of
// the arrivals that the barrier counts.
__device__ inline void arrive_after_copies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// Four lanes 4·i..4·i + 3 exchange words: w[i] of lane q becomes w[q] of lane i. What a lane has of a row of
// C, four bytes in every sixteen, becomes sixteen bytes in one place.
__device__ inline void exchange_words(uint32_t (&w)[4], int lane) {
  const bool odd = lane % 2 != 0;
  const bool high = lane / 2 % 2 != 0;
  const uint32_t a = __shfl_xor_sync(~0U, odd ? w[0] : w[1], 1);
  const uint32_t b = __shfl_xor_sync(~0U, odd ? w[2] : w[3], 1);
  (odd ? w[0] : w[1]) = a;
  (odd ? w[2] : w[3]) = b;
  const uint32_t c = __shfl_xor_sync(~0U, high ? w[0] : w[2], 2);
  const uint32_t d = __shfl_xor_sync(~0U, high ? w[1] : w[3], 2);
  (high ? w[0] : w[2]) = c;
  (high ? w[1] : w[3]) = d;
}

// 2^x with 2 ulp; 0 for -inf and below -126.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A row-major tile [rows][D] of bf16 in shared memory whose 16-byte chunks are permuted within each row, so
// that the eight rows of a matrix lie in different banks. Its base is 128-byte aligned.
template <int D>
struct SwizzledTile {
  static constexpr int kChunks = D / 8;
  static constexpr int kRowBytes = D * 2;

  __device__ explicit SwizzledTile(uint32_t base_address) : base(base_address) {}
  // Rows of 192 bytes (D 96) alternate between the halves of the banks by themselves.
  __device__ uint32_t at(int row, int chunk) const {
    const int turned = chunk ^ (D == 96 ? (row >> 1) & 3 : row & 7);
    return base + static_cast<uint32_t>(row * kRowBytes + turned * 16);
  }
  // 16·step columns and `rows` rows (a multiple of 16) further than `address`, which at() gave for chunk 0 or
  // 1: one operation, the rows are part of the instruction that reads.
  __device__ static uint32_t further(uint32_t address, int rows, int step) {
    constexpr int kFree = D == 96 ? 2 : 4;  // steps within the chunks that are permuted
    return (address ^ static_cast<uint32_t>(step % kFree * 32)) +
           static_cast<uint32_t>(step / kFree * kFree * 32 + rows * kRowBytes);
  }
  // Rows first_row..+15, columns 16·step..+15 as an A fragment.
  __device__ void load_a(uint32_t (&to)[4], int first_row, int step, int lane) const {
    load_matrices(to, at(first_row + lane % 16, 2 * step + lane / 16));
  }
  // The tile's transpose as two B fragments (to[0], to[1]) and (to[2], to[3]): columns first_row..+7 and
  // +8..+15 of the product, its inner dimension 16·step..+15.
  __device__ void load_b(uint32_t (&to)[4], int first_row, int step, int lane) const {
    load_matrices(to, at(first_row + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
  }
  // The tile itself as two B fragments: inner dimension first_row..+15, columns 16·step..+7 and +8..+15.
  __device__ void load_b_rows(uint32_t (&to)[4], int first_row, int step, int lane) const {
    load_matrices_transposed(to, at(first_row + lane % 16, 2 * step + lane / 16));
  }

  uint32_t base;
};

}  // namespace batchmax::kernels::cuda
