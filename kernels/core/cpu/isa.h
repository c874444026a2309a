// Which vector instructions a loop is compiled for, decided when the program runs. A loop is a type with an
// always-inlined static run(); it is compiled once per instruction set from the same source:
//   struct Scale { [[gnu::always_inline]] static void run(float* x, int64_t n) { ... } };
//   run_on<Scale>(best_isa(), x, n);
#pragma once

#include <cstdint>
#include <utility>

namespace batchmax::kernels::cpu {

// Each level has all of the one before. avx512_bf16 adds dot products of bf16 pairs, amx_bf16 products of
// tiles of them; only intrinsics reach either.
enum class Isa : uint8_t { baseline, avx2, avx512, avx512_bf16, amx_bf16 };

// Whether the processor multiplies tiles of bf16 and the system lets this process do so (asked for once).
bool tiles_allowed();

// The widest that this machine has.
inline Isa best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    if (!__builtin_cpu_supports("avx512bf16")) return Isa::avx512;
    return tiles_allowed() ? Isa::amx_bf16 : Isa::avx512_bf16;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

namespace isa_detail {
#if defined(__x86_64__)
template <typename Loop, typename... Args>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma")]] void on_avx512(Args&&... args) {
  Loop::run(std::forward<Args>(args)...);
}
template <typename Loop, typename... Args>
[[gnu::target("avx2,fma")]] void on_avx2(Args&&... args) {
  Loop::run(std::forward<Args>(args)...);
}
#endif
template <typename Loop, typename... Args>
void on_baseline(Args&&... args) {
  Loop::run(std::forward<Args>(args)...);
}
}  // namespace isa_detail

template <typename Loop, typename... Args>
void run_on(Isa isa, Args&&... args) {
#if defined(__x86_64__)
  if (isa >= Isa::avx512) return isa_detail::on_avx512<Loop>(std::forward<Args>(args)...);
  if (isa == Isa::avx2) return isa_detail::on_avx2<Loop>(std::forward<Args>(args)...);
#endif
  (void)isa;
  isa_detail::on_baseline<Loop>(std::forward<Args>(args)...);
}

}  // namespace batchmax::kernels::cpu
