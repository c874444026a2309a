// One start of a group inside the simulation: the leader's real checks and scheduler, messages as they cross
// the wire, and a StepWorld that holds every plan against the rules of method and memory. What is sent to it
// and what it answers is under way until the simulation lets it arrive. Clock and chance are the
// simulation's.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>
#include <unordered_map>

#include "comm/protocol/messages.pb.h"
#include "tests/worker/leader/step_world.h"
#include "worker/leader/group_messages.h"
#include "worker/leader/scheduler.h"
#include "worker/leader/submit_check.h"

namespace batchmax::coordinator {

class SimulatedGroup {
 public:
  struct Size {
    int32_t pages;
    int32_t sequences;
    int lookahead;  // steps planned before the oldest one's results
  };
  static constexpr int32_t kModelLength = 4096;

  SimulatedGroup(const Size& size, const config::CompressionSettings& server, const monitoring::Clock& clock,
                 uint32_t seed)
      : size_(size),
        limits_{server, kModelLength, worker::kVocabulary},
        scheduler_({size.pages, kModelLength / config::kPageSlots, size.sequences,
                    size.sequences + 2 * server.block, false},
                   clock),
        world_(size.pages, false, seed) {}

  // ---- the wire
  void send(comm::pb::Frame frame) { arriving_.push_back(std::move(frame)); }
  std::optional<comm::pb::Frame> next_answer() {
    if (answers_.empty()) return std::nullopt;
    comm::pb::Frame frame = std::move(answers_.front());
    answers_.pop_front();
    return frame;
  }

  // ---- the leader
  // A turn of its loop: events, a plan, results.
  void turn() {
    for (; !arriving_.empty(); arriving_.pop_front()) take(arriving_.front());
    while (results_.size() <= static_cast<size_t>(size_.lookahead)) {
      auto plan = scheduler_.plan();
      if (!plan) break;
      const std::vector<std::byte> broadcast = worker::serialize(*plan);
      results_.push_back(world_.run(worker::deserialize_step_plan(broadcast)));
    }
    if (!results_.empty()) {
      scheduler_.complete(results_.front());
      results_.pop_front();
    }
    answer();
    check();
  }
  // Ends one of its sequences unasked.
  void give_up_one(std::mt19937& random) {
    if (seeds_.empty()) return;
    auto any = seeds_.begin();
    std::advance(any, static_cast<std::ptrdiff_t>(random() % seeds_.size()));
    scheduler_.cancel(any->first);
    answer();
  }
  // Its connection broke: what was under way is lost, it cancels all it runs and says nothing of that.
  void lose_connection() {
    arriving_.clear();
    scheduler_.cancel_all();
    for (; !results_.empty(); results_.pop_front()) scheduler_.complete(results_.front());
    answer();
    answers_.clear();
    EXPECT_TRUE(scheduler_.idle());
    EXPECT_EQ(scheduler_.figures().pages_free, size_.pages);
    check();
  }

  bool busy() const { return !scheduler_.idle() || !arriving_.empty() || !answers_.empty(); }
  int32_t pages_reserved() const { return scheduler_.figures().pages_reserved; }
  const Size& size() const { return size_; }

 private:
  void take(const comm::pb::Frame& frame) {
    if (frame.has_cancel()) {
      scheduler_.cancel(frame.cancel().request());
      return answer();
    }
    auto checked = worker::check_submit(frame.submit(), limits_);
    ASSERT_TRUE(std::holds_alternative<worker::SequenceRequest>(checked)) << std::get<std::string>(checked);
    auto& request = std::get<worker::SequenceRequest>(checked);
    ASSERT_EQ(scheduler_.refusal(request), std::nullopt) << "the coordinator's books are wrong";
    seeds_[request.request] = request.sampling.seed;
    world_.expect(request);
    scheduler_.submit(std::move(request));
  }

  void answer() {
    for (const worker::OutboxEvent& event : scheduler_.take_events()) {
      if (const auto* made = std::get_if<worker::TokenMade>(&event)) {
        answers_.push_back(worker::to_frame(*made));
      } else if (const auto* released = std::get_if<worker::PagesReleased>(&event)) {
        world_.release(seeds_.at(released->request), released->pages);
        answers_.push_back(worker::to_frame(*released));
      } else if (const auto* ended = std::get_if<worker::SequenceEnded>(&event)) {
        world_.end(seeds_.at(ended->request));
        seeds_.erase(ended->request);
        answers_.push_back(worker::to_frame(*ended, 1));
      }
    }
  }

  void check() {
    const worker::SchedulerFigures figures = scheduler_.figures();
    ASSERT_EQ(figures.pages_reserved + figures.pages_free, size_.pages) << "pages are not conserved";
    ASSERT_GE(figures.pages_free, 0);
    ASSERT_LE(world_.pages_held(), figures.pages_reserved);
    ASSERT_LE(figures.slots_held, int64_t{figures.pages_reserved} * config::kPageSlots);
    ASSERT_LE(figures.sequences_running, size_.sequences);
    ASSERT_EQ(scheduler_.idle(), seeds_.empty());
  }

  const Size size_;
  const worker::SubmitLimits limits_;
  worker::Scheduler scheduler_;
  worker::StepWorld world_;
  std::deque<std::vector<int32_t>> results_;  // of planned steps, oldest first
  std::deque<comm::pb::Frame> arriving_, answers_;
  std::unordered_map<uint64_t, uint64_t> seeds_;  // of running sequences, by request
};

}  // namespace batchmax::coordinator
