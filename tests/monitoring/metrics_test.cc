#include "monitoring/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitoring/buckets.h"

namespace batchmax::monitoring {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Metrics, GroupFiguresCarryTheGroupsLabel) {
  Metrics metrics("demo");
  GroupFigures figures;
  figures.pages_total = 10;
  figures.pages_reserved = 4;
  figures.pages_free = 6;
  figures.evicted_prefill_total = 70;
  figures.evicted_decode_total = 3;
  figures.generation_tokens_total = 12;
  metrics.group_up("g0", true, 1);
  metrics.group_figures("g0", figures);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("batchmax_group_up{group=\"g0\"} 1"));
  EXPECT_THAT(text, HasSubstr("batchmax_kv_pages_total{group=\"g0\"} 10"));
  EXPECT_THAT(text, HasSubstr("batchmax_kv_pages_free{group=\"g0\"} 6"));
  EXPECT_THAT(text, HasSubstr("batchmax_kv_cache_usage{group=\"g0\"} 0.4"));
  EXPECT_THAT(text, HasSubstr("batchmax_tokens_evicted_total{group=\"g0\",phase=\"prefill\"} 70"));
  EXPECT_THAT(text, HasSubstr("batchmax_tokens_evicted_total{group=\"g0\",phase=\"decode\"} 3"));
  EXPECT_THAT(text, HasSubstr("vllm:generation_tokens_total{group=\"g0\",model_name=\"demo\"} 12"));
}

TEST(Metrics, ADeadGroupHoldsNothing) {
  Metrics metrics("demo");
  GroupFigures figures;
  figures.kv_bytes_held = 100;
  figures.prompt_tokens_total = 7;
  metrics.group_up("g0", true, 1);
  metrics.group_figures("g0", figures);
  metrics.group_up("g0", false, 1);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("batchmax_group_up{group=\"g0\"} 0"));
  EXPECT_THAT(text, HasSubstr("batchmax_kv_bytes_held{group=\"g0\"} 0"));
  EXPECT_THAT(text, HasSubstr("batchmax_prompt_tokens_total{group=\"g0\"} 7"));
}

TEST(Metrics, RequestsAndAliases) {
  Metrics metrics("demo");
  metrics.first_token(0.03);
  metrics.request_finished("stop", 1.5);
  metrics.request_rejected("queue_full");
  metrics.requests_waiting(2, 300);
  metrics.requests_waiting_for(1, 1, 0);
  metrics.requests_replayed(2);
  metrics.requests_replayed(3);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("batchmax_requests_total{finish_reason=\"stop\"} 1"));
  EXPECT_THAT(text, HasSubstr("vllm:request_success_total{finished_reason=\"stop\",model_name=\"demo\"} 1"));
  EXPECT_THAT(text, HasSubstr("vllm:time_to_first_token_seconds_count{model_name=\"demo\"} 1"));
  EXPECT_THAT(text, HasSubstr("batchmax_requests_rejected_total{reason=\"queue_full\"} 1"));
  EXPECT_THAT(text, HasSubstr("batchmax_requests_waiting 2"));
  EXPECT_THAT(text, HasSubstr("batchmax_requests_waiting_for{reason=\"sequences\"} 1"));
  EXPECT_THAT(text, HasSubstr("batchmax_requests_waiting_tokens 300"));
  EXPECT_THAT(text, HasSubstr("batchmax_requests_replayed_total 3"));
}

TEST(Metrics, ReasonsThatAreKnownBeginAtZero) {
  const std::string text = Metrics("demo").text();
  EXPECT_THAT(text, HasSubstr("batchmax_requests_rejected_total{reason=\"no_group\"} 0"));
  EXPECT_THAT(text, HasSubstr("batchmax_requests_total{finish_reason=\"error\"} 0"));
}

TEST(Metrics, CountsRestartsAndLosses) {
  Metrics metrics("demo");
  metrics.group_up("g0", true, 7);
  metrics.group_up("g0", false, 7);
  metrics.group_up("g0", true, 7);  // the same leader on a new connection
  metrics.group_up("g0", false, 7);
  metrics.group_up("g0", false, 7);
  metrics.group_up("g0", true, 8);
  metrics.group_silence("g0", 0.25, 1.5);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("batchmax_group_restarts_total{group=\"g0\"} 1"));
  EXPECT_THAT(text, HasSubstr("batchmax_group_losses_total{group=\"g0\"} 2"));
  EXPECT_THAT(text, HasSubstr("batchmax_group_message_age_seconds{group=\"g0\"} 0.25"));
  EXPECT_THAT(text, HasSubstr("batchmax_group_round_trip_age_seconds{group=\"g0\"} 1.5"));
}

TEST(Metrics, DeviceMemoryIsSplitByUse) {
  Metrics metrics("demo");
  GroupFigures figures;
  figures.weight_bytes = 5;
  figures.workspace_bytes = 3;
  metrics.group_up("g0", true, 1);
  metrics.group_figures("g0", figures);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("batchmax_device_memory_bytes{group=\"g0\",use=\"weights\"} 5"));
  EXPECT_THAT(text, HasSubstr("batchmax_device_memory_bytes{group=\"g0\",use=\"workspace\"} 3"));
}

TEST(Metrics, StepHistogramsAreCumulativeAndEndInInfinity) {
  Metrics metrics("demo");
  GroupFigures figures;
  figures.step_seconds.push_back({"decode", 5, 0.5, std::vector<double>(kStepSecondsBuckets.size(), 4)});
  metrics.group_up("g0", true, 1);
  metrics.group_figures("g0", figures);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("batchmax_step_seconds_bucket{group=\"g0\",phase=\"decode\",le=\"0.001\"} 4"));
  EXPECT_THAT(text, HasSubstr("batchmax_step_seconds_bucket{group=\"g0\",phase=\"decode\",le=\"+Inf\"} 5"));
}

TEST(Metrics, EveryFamilyStandsOnce) {
  Metrics metrics("demo");
  metrics.group_up("g0", true, 1);
  metrics.group_up("g1", true, 1);
  const std::string text = metrics.text();
  const std::string type = "# TYPE batchmax_tokens_evicted_total counter";
  EXPECT_THAT(text, HasSubstr(type));
  EXPECT_THAT(text.substr(text.find(type) + 1), Not(HasSubstr(type)));
}

}  // namespace
}  // namespace batchmax::monitoring
