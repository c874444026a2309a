// An executor whose model is a pure function: the id at a position follows from the request's seed. It can be
// told to look ahead, to take its time and to fail.
#pragma once

#include <chrono>
#include <deque>
#include <stdexcept>
#include <thread>
#include <vector>

#include "monitoring/check.h"
#include "tests/worker/leader/step_world.h"
#include "worker/executor/step_executor.h"

namespace batchmax::worker {

class FakeExecutor final : public StepExecutor {
 public:
  struct Options {
    ReplicaFacts facts;
    int lookahead = 0;
    std::chrono::microseconds step_time{0};
    uint64_t fails_at_step = 0;  // 0: never
  };
  explicit FakeExecutor(Options options) : options_(std::move(options)) {}

  const ReplicaFacts& facts() const override { return options_.facts; }
  int lookahead() const override { return options_.lookahead; }

  void launch(const StepPlan& plan) override {
    CHECK_LE(results_.size(), static_cast<size_t>(options_.lookahead));
    if (plan.step == options_.fails_at_step) throw std::runtime_error("the device is gone");
    if (options_.step_time.count() > 0) std::this_thread::sleep_for(options_.step_time);
    StepResult result;
    result.step = plan.step;
    for (const kernels::SampleRow& sample : plan.samples)
      result.ids.push_back(drawn_id(sample.seed, sample.position));
    results_.push_back(std::move(result));
    seen_.push_back(serialize(plan));
  }

  StepResult collect() override {
    CHECK(!results_.empty());
    StepResult result = std::move(results_.front());
    results_.pop_front();
    return result;
  }

  // Every plan launched here, in order. After the step thread has ended.
  const std::vector<std::vector<std::byte>>& seen() const { return seen_; }
  bool all_collected() const { return results_.empty(); }

 private:
  Options options_;
  std::deque<StepResult> results_;
  std::vector<std::vector<std::byte>> seen_;
};

}  // namespace batchmax::worker
