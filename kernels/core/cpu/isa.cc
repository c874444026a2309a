#include "kernels/core/cpu/isa.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace batchmax::kernels::cpu {

bool tiles_allowed() {
#if defined(__x86_64__) && defined(__linux__)
  static const bool allowed = [] {
    constexpr uint32_t kBf16 = 1U << 22;  // of leaf 7's edx
    constexpr uint32_t kTiles = 1U << 24;
    uint32_t a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBf16) == 0 || (d & kTiles) == 0) return false;
    // Linux keeps no state of tiles for a process that has not asked; then the first of them ends it. A
    // system that knows the question has the state enabled where it says yes.
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return allowed;
#else
  return false;
#endif
}

}  // namespace batchmax::kernels::cpu
