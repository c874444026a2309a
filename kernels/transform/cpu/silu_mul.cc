// out = gate / (1 + e^−gate) · up, a thread per row: 3 · F elements moved.
#include <cmath>

#include "kernels/core/cpu/isa.h"
#include "kernels/core/cpu/lanes.h"
#include "kernels/transform/backends.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr int64_t kWorthATeam = 16 * 1024;  // elements; waking the team costs some microseconds

template <typename T>
struct SiluMul {
  [[gnu::always_inline]] static void run(const T* gate, const T* up, T* out, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      Floats g, u, power;
      load(gate + i, g);
      load(up + i, u);
      exponential(-g, power);
      store(g / (power + 1.0F) * u, out + i);
    }
    for (; i < n; ++i) {
      const float g = to_float(gate[i]);
      store_one(g / (1.0F + std::exp(-g)) * to_float(up[i]), out + i);
    }
  }
};

template <typename T>
void silu_mul_all(const Tensor& gate_up, const Tensor& out) {
  const int64_t width = out.dim(1);
  const Isa isa = best_isa();
#pragma omp parallel for schedule(static) if (out.elements() >= kWorthATeam)
  for (int64_t t = 0; t < out.dim(0); ++t) {
    const T* gate = gate_up.as<T>() + 2 * t * width;
    run_on<SiluMul<T>>(isa, gate, gate + width, out.as<T>() + t * width, width);
  }
}

}  // namespace

void silu_mul(const Stream&, const Tensor& gate_up, const Tensor& out) {
  out.dtype() == DType::bf16 ? silu_mul_all<bf16>(gate_up, out) : silu_mul_all<float>(gate_up, out);
}

}  // namespace batchmax::kernels::cpu
