#include "kernels/core/cpu/isa.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/core/cpu/team.h"

namespace batchmax::kernels::cpu {
namespace {

struct Scale {
  [[gnu::always_inline]] static void run(float* x, int n, float by) {
    for (int i = 0; i < n; ++i) x[i] *= by;
  }
};

TEST(Isa, RunsALoopAtEveryLevelOfTheMachine) {
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx_bf16}) {
    if (isa > best_isa()) continue;
    std::vector<float> x(37, 3.0F);
    run_on<Scale>(isa, x.data(), 37, 0.5F);
    EXPECT_EQ(x, std::vector<float>(37, 1.5F)) << static_cast<int>(isa);
  }
}

TEST(Team, NumbersItsThreads) {
  std::vector<int> visits(static_cast<size_t>(most_threads()));
#pragma omp parallel
  visits[static_cast<size_t>(this_thread())] += 1;
  int total = 0;
  for (const int visit : visits) {
    EXPECT_LE(visit, 1);
    total += visit;
  }
  EXPECT_GE(total, 1);
}

}  // namespace
}  // namespace batchmax::kernels::cpu
