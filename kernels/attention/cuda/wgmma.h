// Warpgroup matrix products of Hopper (sm_90a only): 128 threads multiply tiles in shared memory,
// asynchronously, with fp32 sums in registers. And the barriers in shared memory through which copies,
// products and warps wait for each other.
//
// Sums of m64nNk16: warp w of the group has rows 16·w..16·w+15, laid out as C of mma.h: d[4·j .. 4·j+3] are
// columns 8·j.. . A from registers is laid out as A of mma.h.
#pragma once

#include <cstdint>

namespace batchmax::kernels::cuda {

// Whether this pass of the compiler is for sm_90a: the instructions exist for no other device.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool kHopper = true;
#else
inline constexpr bool kHopper = false;
#endif

// A tile [rows][D] of bf16 in shared memory as the products read it: blocks of kColumns columns, one behind
// the other; in a block a row is 128 (or, D 96, 64) bytes, its 16-byte chunks permuted. Bases are 1024-byte
// aligned.
template <int D>
struct ProductTile {
  static constexpr int kColumns = D == 96 ? 32 : 64;
  static constexpr int kRowBytes = kColumns * 2;
  static constexpr uint64_t kPattern = D == 96 ? uint64_t{2} << 62 : uint64_t{1} << 62;

  // Offset of a 16-byte chunk of a tile of `rows` rows.
  __device__ static uint32_t at(int rows, int row, int chunk) {
    constexpr int kChunks = kColumns / 8;
    const int turned = chunk % kChunks ^ (D == 96 ? row / 2 % 4 : row % 8);
    return static_cast<uint32_t>(chunk / kChunks * rows * kRowBytes + row * kRowBytes + turned * 16);
  }
  // Rows are rows of A, or columns of B (its transpose is stored); the inner dimension is columns 16·step..
  // of the tile.
  __device__ static uint64_t inner_columns(uint32_t base, int rows, int step) {
    constexpr int kSteps = kColumns / 16;
    const auto to = static_cast<uint32_t>(step / kSteps * rows * kRowBytes + step % kSteps * 32);
    return descriptor(base + to, 16, 8 * kRowBytes);
  }
  // B as it is stored: the inner dimension is rows 16·step.. of the tile, columns are columns.
  __device__ static uint64_t inner_rows(uint32_t base, int rows, int step) {
    return descriptor(base + static_cast<uint32_t>(16 * step * kRowBytes), rows * kRowBytes, 8 * kRowBytes);
  }

 private:
  // `leading`: from one block of columns to the next; `stride`: from 8 rows to the next 8.
  __device__ static uint64_t descriptor(uint32_t address, int leading, int stride) {
    return kPattern | static_cast<uint64_t>(stride >> 4) << 32 | static_cast<uint64_t>(leading >> 4) << 16 |
           (address & 0x3FFFF) >> 4;
  }
};

// What follows up to commit_products() may use registers and shared memory written so far.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most `kLeft` of the latest groups are under way.
template <int kLeft>
__device__ inline void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}
// What `positive` is computed from comes before the waits that follow. The compiler (13.0) moves a wait up in
// front of arithmetic, so that nothing is left to do meanwhile, but not across a branch; this one is never
// taken.
__device__ inline void compute_before_waiting(float positive) {
  if (positive < 0) __nanosleep(1);
}
// Makes what has been written to shared memory, by this thread or by others that it has waited for, visible
// to products.
__device__ inline void publish_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// d = A · B, or with `add` d += A · B; A in registers, B through inner_rows() (kInnerRows) or
// inner_columns(). The columns of the product are twice the size of d.
template <bool kInnerRows>
__device__ inline void product(float (&d)[32], const uint32_t (&a)[4], uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
        "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kInnerRows ? 1 : 0));
}
template <bool kInnerRows>
__device__ inline void product(float (&d)[48], const uint32_t (&a)[4], uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %53, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
      "}, {%48, %49, %50, %51}, %52, p, 1, 1, %54;\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
        "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
        "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kInnerRows ? 1 : 0));
}
template <bool kInnerRows>
__device__ inline void product(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
        "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
        "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),
        "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),
        "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kInnerRows ? 1 : 0));
}

// A barrier of shared memory for `count` arrivals; wait(parity) returns when the phase of that parity is
// over: phases alternate 0, 1, 0, …; before the first is over, the one "before", of parity 1, is.
struct SharedBarrier {
  uint32_t address;

  __device__ void init(int count) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(count) : "memory");
  }
  // Makes the phase wait for `bytes` of copy_box() as well; before the last arrival.
  __device__ void expect(uint32_t bytes) const {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(bytes)
                 : "memory");
  }
  __device__ void arrive() const {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(address)
                 : "memory");
  }
  __device__ void wait(uint32_t parity) const {
    asm volatile(
        "{\n.reg .pred done;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra.uni DONE;\nbra.uni WAIT;\nDONE:\n}" ::"r"(address),
        "r"(parity)
        : "memory");
  }
};

// One thread: a box of a tensor map to shared memory, from (column, head, row) on.
__device__ inline void copy_box(uint32_t to, const void* map, int32_t column, int32_t head, int32_t row,
                                SharedBarrier full) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, "
      "%5}], "
      "[%2];" ::"r"(to),
      "l"(map), "r"(full.address), "r"(column), "r"(head), "r"(row)
      : "memory");
}

// Whether it is so for any thread of the warpgroup `group`, 0 or 1; all its threads call it.
__device__ inline bool any_of_group(int group, bool so) {
  int any;
  asm volatile(
      "{\n.reg .pred mine, all;\nsetp.ne.b32 mine, %2, 0;\nbar.red.or.pred all, %1, 128, mine;\n"
      "selp.b32 %0, 1, 0, all;\n}"
      : "=r"(any)
      : "r"(3 + group), "r"(static_cast<int>(so))
      : "memory");
  return any != 0;
}

__device__ inline void store_shared(uint32_t address, int4 value) {
  asm volatile("st.shared.v4.s32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y),
               "r"(value.z), "r"(value.w)
               : "memory");
}
__device__ inline int4 load_shared(uint32_t address) {
  int4 value;
  asm volatile("ld.shared.v4.s32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

// Two warpgroups issue their products in turns: `group` 0 or 1 waits for its own, which the other gives.
__device__ inline void wait_for_turn(int group) {
  asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");
}
__device__ inline void give_turn(int group) {
  asm volatile("bar.arrive %0, 256;" ::"r"(1 + group) : "memory");
}

// Registers of each thread of the calling warpgroup from here on.
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace batchmax::kernels::cuda
