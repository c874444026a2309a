#include "worker/watchdog.h"

#include <gtest/gtest.h>

#include <future>

namespace batchmax::worker {
namespace {

using monitoring::ManualClock;
using monitoring::Progress;
using monitoring::TimePoint;
using namespace std::chrono_literals;

class TooSilent : public testing::Test {
 protected:
  bool after(monitoring::Duration silence) {
    clock_.advance(silence);
    const bool verdict = too_silent(progress_.read(), clock_.now(), TimePoint{}).has_value();
    clock_.advance(-silence);
    return verdict;
  }
  void step(monitoring::Duration layer) {
    progress_.begin_step();
    for (int i = 0; i < 10; ++i) {
      clock_.advance(layer);
      progress_.tick();
    }
    progress_.end_step();
  }
  ManualClock clock_;
  Progress progress_{clock_};
};

TEST_F(TooSilent, LoadingMayTakeAsLongAsItTakes) {
  EXPECT_FALSE(after(1h));
  progress_.rest();
  EXPECT_FALSE(after(1h));
}

TEST_F(TooSilent, TheFirstStepMayTakeAMinute) {
  progress_.begin_step();
  EXPECT_FALSE(after(60s));
  EXPECT_TRUE(after(61s));
  progress_.tick();
  EXPECT_FALSE(after(60s));
  progress_.end_step();
  progress_.begin_step();
  EXPECT_FALSE(after(2s));
  EXPECT_TRUE(after(2001ms));
}

TEST_F(TooSilent, AStepUnderWayIsAStepWhateverElseIsDone) {
  progress_.begin_step();
  progress_.listen();
  EXPECT_FALSE(after(60s));
  progress_.ask();
  EXPECT_FALSE(after(60s));
}

TEST_F(TooSilent, NobodyMustSpeakBeforeAllHaveLoaded) {
  progress_.listen();
  EXPECT_FALSE(after(60s));
  progress_.ask();
  progress_.listen();
  EXPECT_FALSE(after(2s));
  EXPECT_TRUE(after(2001ms));
}

TEST_F(TooSilent, SlowLayersStretchTheLimitFastOnesDoNotShrinkIt) {
  for (int i = 0; i < 30; ++i) step(1ms);
  progress_.begin_step();
  EXPECT_FALSE(after(2s));
  EXPECT_TRUE(after(2001ms));
  progress_.end_step();
  for (int i = 0; i < 30; ++i) step(400ms);
  progress_.begin_step();
  EXPECT_FALSE(after(4s));
  EXPECT_TRUE(after(11s));  // known to a factor of two
}

TEST_F(TooSilent, OneLayerInAThousandThatWasSlowChangesNothing) {
  for (int i = 0; i < 100; ++i) step(1ms);
  step(1ms);
  progress_.begin_step();
  clock_.advance(1s);
  progress_.tick();
  EXPECT_TRUE(after(2001ms));
}

TEST_F(TooSilent, TimeInWhichTheProcessStoodStillItselfDoesNotCount) {
  step(1ms);
  progress_.begin_step();
  clock_.advance(1h);
  EXPECT_TRUE(too_silent(progress_.read(), clock_.now(), TimePoint{}));
  EXPECT_FALSE(too_silent(progress_.read(), clock_.now(), clock_.now() - 1s));
}

TEST_F(TooSilent, SaysWhatWasSeen) {
  step(1ms);
  progress_.begin_step();
  clock_.advance(2500ms);
  EXPECT_EQ(*too_silent(progress_.read(), clock_.now(), TimePoint{}),
            "no progress for 2.5 s (limit 2.0 s): this rank hangs, or another was stopped");
}

// Any look finds a silence of hours: the clock here stands an hour after the last sign.
class LateClock final : public monitoring::Clock {
 public:
  TimePoint now() const override { return TimePoint(at_.load()); }
  void set(monitoring::Duration at) { at_ = at; }

 private:
  std::atomic<monitoring::Duration> at_{1s};
};

TEST(Watchdog, CallsOnceWhenTheStepThreadStandsStill) {
  LateClock clock;
  Progress progress(clock);
  std::promise<std::string> ended;
  Watchdog watchdog(progress, clock, [&](const std::string& reason) { ended.set_value(reason); });
  progress.ask();
  auto reason = ended.get_future();
  // In small steps: a leap is what a watchdog sees that was stopped itself.
  for (auto at = 1s + 100ms; reason.wait_for(60ms) != std::future_status::ready && at < 60s; at += 100ms) {
    clock.set(at);
  }
  ASSERT_EQ(reason.wait_for(0s), std::future_status::ready);
  EXPECT_NE(reason.get().find("no progress"), std::string::npos);
}

TEST(Watchdog, EndsTheProcessWithOneLineAndItsStatus) {
  EXPECT_EXIT(end_process(3, "no progress for 2.5 s"), testing::ExitedWithCode(kStoodStill),
              "^batchmax-worker: rank 3: no progress for 2.5 s\n$");
}

}  // namespace
}  // namespace batchmax::worker
