#include "worker/model/step_timer.h"

#include <gtest/gtest.h>

#include "kernels/core/stream.h"

namespace batchmax::worker {
namespace {

using std::chrono::milliseconds;

TEST(StepTimer, CountsEveryLayerOnTheCpu) {
  monitoring::ManualClock clock;
  const kernels::Stream stream = kernels::Stream::cpu();
  StepTimer timer(stream, clock, nullptr);
  for (int step = 0; step < 2; ++step) {
    timer.start();
    for (int32_t layer = 0; layer < 4; ++layer) {
      clock.advance(milliseconds(10));
      const StepTimer::Span span = timer.measure(StepPart::all_reduce, layer, 4);
      clock.advance(milliseconds(layer));
    }
    const StepTiming timing = timer.finish();
    EXPECT_DOUBLE_EQ(timing.total_seconds(nullptr), 0.046);
    EXPECT_DOUBLE_EQ(timing.part_seconds(StepPart::all_reduce, nullptr), 0.006);
    EXPECT_EQ(timing.part_seconds(StepPart::selection, nullptr), 0);
  }
}

// What the device wrote is subtracted later: here by hand.
TEST(StepTiming, SubtractsMarksByTheirWeights) {
  StepTiming timing;
  timing.spans = {{StepPart::all_reduce, 2, 3, 8},
                  {StepPart::all_reduce, 5, 6, 1},
                  {StepPart::selection, 4, 7, 1},
                  {StepPart::selection, 5, 6, -1}};
  const int64_t marks[] = {1000, 9000, 1100, 1200, 2000, 2500, 2700, 4000};
  EXPECT_DOUBLE_EQ(timing.total_seconds(marks), 8e-6);
  EXPECT_DOUBLE_EQ(timing.part_seconds(StepPart::all_reduce, marks), 1e-9 * (8 * 100 + 200));
  EXPECT_DOUBLE_EQ(timing.part_seconds(StepPart::selection, marks), 1e-9 * (2000 - 200));
}

}  // namespace
}  // namespace batchmax::worker
