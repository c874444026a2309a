// Where a step's seconds go. On the CPU work is done when a call returns, so the injected clock times every
// call. On a GPU the device writes its own clock into marks, in stream order, to be read when the step is
// done; inside of layers the middle one stands for all, because a mark costs the device a launch and there
// are hundreds of calls. Marks are part of captured graphs. Step thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/core/stream.h"
#include "monitoring/clock.h"

namespace batchmax::worker {

enum class StepPart : uint8_t { all_reduce, selection };
inline constexpr size_t kStepParts = 2;

// What is known of a step when it has been launched: on the CPU its seconds, on a GPU which marks to subtract
// later.
struct StepTiming {
  struct Span {
    StepPart part;
    int32_t first;  // marks
    int32_t last;
    double weight;  // how often it counts; negative: time that belongs to a span inside of another
  };
  double total = 0;
  std::array<double, kStepParts> parts{};
  std::vector<Span> spans;

  // Seconds of a step that is done. nanoseconds: the host's copy of the marks.
  double total_seconds(const int64_t* nanoseconds) const;
  double part_seconds(StepPart part, const int64_t* nanoseconds) const;
};

class StepTimer {
 public:
  static constexpr int32_t kMarks =
      64;  // 0 and 1: begin and end of the step; spans that find none left go uncounted

  // clock, stream and marks (backend memory, i64 [kMarks]; nullptr on the CPU) outlive the timer.
  StepTimer(const kernels::Stream& stream, const monitoring::Clock& clock, int64_t* marks)
      : stream_(stream), clock_(clock), marks_(marks) {}

  // From its making to its end. What a span inside of another takes is not counted to the outer one.
  class Span {
   public:
    ~Span();
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    friend class StepTimer;
    Span(StepTimer& timer, StepPart part, double weight);
    StepTimer& timer_;
    const StepPart part_;
    const double weight_;  // 0: not measured
    Span* const outer_;
    monitoring::TimePoint begin_;
    int32_t first_ = -1;
  };
  [[nodiscard]] Span measure(StepPart part) { return Span(*this, part, 1); }
  // In each of `layers` layers the same.
  [[nodiscard]] Span measure(StepPart part, int32_t layer, int32_t layers);

  // A step: start, spans, finish.
  void start();
  StepTiming finish();
  // The same for work that a graph records: forget all, spans, what the graph will mark. Its marks are the
  // first of every step that launches it, told by replay() after start().
  void forget();
  const StepTiming& recorded() const { return timing_; }
  void replay(const StepTiming& graph);

 private:
  bool marks_time() const { return marks_ != nullptr; }
  int32_t mark();  // -1: none left

  const kernels::Stream& stream_;
  const monitoring::Clock& clock_;
  int64_t* const marks_;
  StepTiming timing_;
  int32_t next_mark_ = 2;
  monitoring::TimePoint begin_;
  Span* open_ = nullptr;  // the innermost
};

}  // namespace batchmax::worker
