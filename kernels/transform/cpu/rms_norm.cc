// y = x / sqrt(mean(x²) + eps) · weight, a thread per row. A row is read twice, the second time from cache:
// 2 · d elements moved, 4 · d with the residual add.
#include <cmath>

#include "kernels/core/cpu/isa.h"
#include "kernels/transform/backends.h"
#include "kernels/transform/cpu/norm_row.h"

namespace batchmax::kernels::cpu {
namespace {

// Waking the team costs some microseconds: about what this many elements cost one thread.
constexpr int64_t kWorthATeam = 32 * 1024;

template <typename T>
struct Norm {
  [[gnu::always_inline]] static void run(const T* x, const T* weight, float eps, T* out, int64_t d) {
    norm_row(x, weight, eps, out, d);
  }
};

template <typename T>
struct AddNorm {
  [[gnu::always_inline]] static void run(T* residual, const T* delta, const T* weight, float eps, T* out,
                                         int64_t d) {
    int64_t i = 0;
    for (; i + kLanes <= d; i += kLanes) {
      Floats sum, added;
      load(residual + i, sum);
      load(delta + i, added);
      sum += added;
      store(sum, residual + i);
    }
    for (; i < d; ++i) store_one(to_float(residual[i]) + to_float(delta[i]), residual + i);
    norm_row(residual, weight, eps, out, d);
  }
};

template <typename T>
void norm_all(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  const int64_t d = x.dim(1);
  const Isa isa = best_isa();
#pragma omp parallel for schedule(static) if (x.elements() >= kWorthATeam)
  for (int64_t t = 0; t < x.dim(0); ++t) {
    run_on<Norm<T>>(isa, x.as<T>() + t * d, weight.as<T>(), eps, out.as<T>() + t * d, d);
  }
}

template <typename T>
void add_norm_all(const Tensor& residual, const Tensor& delta, const Tensor& weight, float eps,
                  const Tensor& out) {
  const int64_t d = residual.dim(1);
  const Isa isa = best_isa();
#pragma omp parallel for schedule(static) if (residual.elements() >= kWorthATeam)
  for (int64_t t = 0; t < residual.dim(0); ++t) {
    run_on<AddNorm<T>>(isa, residual.as<T>() + t * d, delta.as<T>() + t * d, weight.as<T>(), eps,
                       out.as<T>() + t * d, d);
  }
}

}  // namespace

void rms_norm(const Stream&, const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  x.dtype() == DType::bf16 ? norm_all<bf16>(x, weight, eps, out) : norm_all<float>(x, weight, eps, out);
}

void add_rms_norm(const Stream&, const Tensor& residual, const Tensor& delta, const Tensor& weight, float eps,
                  const Tensor& out) {
  residual.dtype() == DType::bf16 ? add_norm_all<bf16>(residual, delta, weight, eps, out)
                                  : add_norm_all<float>(residual, delta, weight, eps, out);
}

}  // namespace batchmax::kernels::cpu
