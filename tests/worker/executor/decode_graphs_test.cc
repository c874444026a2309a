// Which steps may run as graphs, and for which row counts graphs are recorded. The graphs themselves need a
// device: tests/worker/method/graphs_test.cc.
#include "worker/executor/decode_graphs.h"

#include <gtest/gtest.h>

namespace batchmax::worker {
namespace {

TEST(GraphBuckets, RiseToTheMostRows) {
  EXPECT_EQ(graph_buckets(1), (std::vector<int32_t>{1}));
  EXPECT_EQ(graph_buckets(4), (std::vector<int32_t>{1, 2, 4}));
  EXPECT_EQ(graph_buckets(20), (std::vector<int32_t>{1, 2, 4, 8, 16, 20}));
  EXPECT_EQ(graph_buckets(256), (std::vector<int32_t>{1,  2,  4,  8,  16,  24,  32,  40,  48,  56, 64,
                                                      72, 80, 88, 96, 104, 112, 120, 128, 192, 256}));
}

TEST(GraphKind, IsOfStepsThatOnlyDecodeOneKindAndDrawForAll) {
  EXPECT_EQ(graph_kind(padding_plan(RowKind::decode, 3)), RowKind::decode);
  EXPECT_EQ(graph_kind(padding_plan(RowKind::decode_mass, 1)), RowKind::decode_mass);
  EXPECT_EQ(graph_kind(StepPlan{}), std::nullopt);

  StepPlan mixed = padding_plan(RowKind::decode, 3);
  mixed.row_counts = {1, 2, 0, 0, 0};
  EXPECT_EQ(graph_kind(mixed), std::nullopt);

  StepPlan block = padding_plan(RowKind::decode, 2);
  block.rows.push_back(block.rows[1]);
  block.row_counts[static_cast<size_t>(RowKind::append)] = 1;
  block.prompt_tokens = {5};
  EXPECT_EQ(graph_kind(block), std::nullopt);

  StepPlan silent = padding_plan(RowKind::decode, 3);
  silent.samples.pop_back();
  EXPECT_EQ(graph_kind(silent), std::nullopt);
}

TEST(DecodeGraphs, WithoutARecordingNothingIsFound) {
  const DecodeGraphs graphs;
  EXPECT_EQ(graphs.find(padding_plan(RowKind::decode, 2)), nullptr);
  EXPECT_EQ(graphs.size(), 0U);
}

}  // namespace
}  // namespace batchmax::worker
