#include "worker/leader/leader_loop.h"

#include <chrono>
#include <utility>

#include "monitoring/check.h"

namespace batchmax::worker {
namespace {

// With the watchdog's 2 s, a rank that was stopped is noticed within 3.
constexpr std::chrono::milliseconds kIdleRoundTrip{900};

double seconds_since(monitoring::TimePoint begin, const monitoring::Clock& clock) {
  return std::chrono::duration<double>(clock.now() - begin).count();
}

StepPlan bare_plan(StepKind kind) {
  StepPlan plan;
  plan.kind = kind;
  return plan;
}

}  // namespace

LeaderLoop::LeaderLoop(const SchedulerLimits& limits, comm::ControlGroup& group, StepExecutor& executor,
                       Inbox& inbox, Outbox& outbox, GroupReportBoard& board, monitoring::Progress& progress,
                       const monitoring::Clock& clock, monitoring::Log log)
    : group_(group),
      executor_(executor),
      inbox_(inbox),
      outbox_(outbox),
      board_(board),
      progress_(progress),
      clock_(clock),
      log_(std::move(log)),
      scheduler_(limits, clock) {
  CHECK_EQ(group.rank(), 0);
  report_.last_round_trip = clock.now();
  publish();
}

void LeaderLoop::run() {
  for (;;) {
    launch_ahead();
    if (!launched_.empty()) {
      collect();
      handle(inbox_.drain());
      continue;
    }
    CHECK(scheduler_.idle());
    if (stopping_) break;
    progress_.listen();
    std::deque<InboxEvent> events = inbox_.wait(kIdleRoundTrip);
    if (events.empty()) round_trip();
    handle(std::move(events));
  }
  progress_.rest();
  send(bare_plan(StepKind::shutdown));
  outbox_.push(Stopped{});
}

void LeaderLoop::handle(std::deque<InboxEvent> events) {
  const monitoring::TimePoint begin = clock_.now();
  for (InboxEvent& event : events) {
    if (auto* request = std::get_if<SequenceRequest>(&event)) {
      const auto why =
          stopping_ ? std::optional<std::string>("the group is ending") : scheduler_.refusal(*request);
      if (why) {
        log_.warning("request refused", {{"request", request->request}, {"reason", *why}});
        SequenceEnded ended;
        ended.request = request->request;
        ended.attempt = request->attempt;
        ended.error = *why;
        outbox_.push(std::move(ended));
      } else {
        scheduler_.submit(std::move(*request));
      }
    } else if (const auto* cancel = std::get_if<CancelSequence>(&event)) {
      scheduler_.cancel(cancel->request);
    } else if (const auto* ping = std::get_if<RoundTrip>(&event)) {
      round_trip();
      outbox_.push(RoundTripDone{ping->id});
    } else if (std::holds_alternative<CancelAll>(event)) {
      scheduler_.cancel_all();
      while (!launched_.empty()) collect();
      answer();
      CHECK(scheduler_.idle());
      round_trip();
      outbox_.push(AllCancelled{});
    } else {
      stopping_ = true;
      if (std::get<Stop>(event).now) scheduler_.cancel_all();
    }
  }
  if (events.empty()) return;
  answer();
  publish();
  host_seconds_ += seconds_since(begin, clock_);
}

void LeaderLoop::launch_ahead() {
  while (launched_.size() <= static_cast<size_t>(executor_.lookahead())) {
    const monitoring::TimePoint begin = clock_.now();
    std::optional<StepPlan> plan = scheduler_.plan();
    if (!plan) return;
    send(*plan);
    host_seconds_ += seconds_since(begin, clock_);
    progress_.begin_step();
    executor_.launch(*plan);
    ++report_.tick;
    launched_.push_back(std::move(*plan));
  }
}

void LeaderLoop::collect() {
  const StepResult result = executor_.collect();
  progress_.end_step();
  const monitoring::TimePoint begin = clock_.now();
  const StepPlan plan = std::move(launched_.front());
  launched_.pop_front();
  CHECK_EQ(result.step, plan.step);
  scheduler_.complete(result.ids, result.logprobs);
  answer();
  report_.last_round_trip = begin;  // no step ends without every rank
  ++report_.tick;
  report_.times.add(plan, result.seconds);
  publish();
  report_.times.plan.add(host_seconds_ + seconds_since(begin, clock_));
  host_seconds_ = 0;
}

void LeaderLoop::answer() { outbox_.push_all(scheduler_.take_events()); }

void LeaderLoop::round_trip() {
  if (group_.size() > 1) {
    progress_.ask();
    send(bare_plan(StepKind::ping));
    group_.gather({});
  }
  ++report_.tick;
  report_.last_round_trip = clock_.now();
  publish();
}

void LeaderLoop::send(const StepPlan& plan) {
  if (group_.size() > 1) group_.broadcast(serialize(plan));
}

void LeaderLoop::publish() {
  report_.figures = scheduler_.figures();
  board_.publish(report_);
}

void run_follower(comm::ControlGroup& group, StepExecutor& executor, monitoring::Progress& progress) {
  int launched = 0;
  const auto collect_down_to = [&](int rest) {
    for (; launched > rest; --launched) {
      executor.collect();
      progress.end_step();
    }
  };
  for (;;) {
    progress.listen();
    const StepPlan plan = deserialize_step_plan(group.broadcast({}));
    switch (plan.kind) {
      case StepKind::work:
        collect_down_to(executor.lookahead());
        progress.begin_step();
        executor.launch(plan);
        ++launched;
        break;
      case StepKind::ping:
        collect_down_to(0);
        progress.ask();
        group.gather({});
        break;
      case StepKind::shutdown:
        collect_down_to(0);
        progress.rest();
        return;
    }
  }
}

}  // namespace batchmax::worker
