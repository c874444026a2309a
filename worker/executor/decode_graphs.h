// Steps that only decode, recorded once per number of rows and replayed: the host hands the device one graph
// instead of some hundred launches. A graph holds for fewer rows than it was recorded for: the rest of them
// is padding. Steps with prefill blocks, those that mix rows with and without mass, and those that want log
// probabilities run launch by launch.
// Step thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/core/graph.h"
#include "worker/model/step_timer.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

// Row counts that graphs are recorded for: 1, 2, 4, 8 … 128 by 8, then by 64, the last of them max_rows.
// Padding wastes little where a row costs much, and start-up stays short.
std::vector<int32_t> graph_buckets(int32_t max_rows);

// The kind of all rows, where a graph could run the step: no blocks, one kind, every row draws.
std::optional<RowKind> graph_kind(const StepPlan& plan);

// A row of no sequence, the i-th of its step: kernels skip it.
kernels::Row padding_row(int32_t i);
kernels::SampleRow padding_sample(int32_t i);
kernels::CountRow padding_count();
kernels::AdjustRow padding_adjustment();
// A step of padding alone: what graphs are recorded with.
StepPlan padding_plan(RowKind kind, int32_t rows);

class DecodeGraphs {
 public:
  struct Recorded {
    int32_t rows;
    kernels::Graph graph;
    StepTiming timing;  // what the graph marks
  };
  // In rising order of rows per kind; decode or decode_mass.
  void add(RowKind kind, Recorded recorded);
  // The smallest that holds the step's rows; nullptr: none.
  const Recorded* find(const StepPlan& plan) const;
  size_t size() const { return recorded_[0].size() + recorded_[1].size(); }

 private:
  std::array<std::vector<Recorded>, 2> recorded_;  // by kind
};

}  // namespace batchmax::worker
