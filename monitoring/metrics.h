// The metrics of the coordinator's /metrics, as one value that main() constructs and passes. Names and
// meaning: docs/metrics.md. Thread-safe (prometheus-cpp). Group figures arrive in Load messages and are set
// as they are.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace batchmax::monitoring {

// Figures of one group, as its leader counts them. Totals grow from the group's start; a new epoch starts at
// 0.
struct GroupFigures {
  double pages_total = 0, pages_free = 0, pages_reserved = 0;
  double sequences_running = 0, sequences_prefill = 0;
  double kv_bytes_held = 0, kv_bytes_peak = 0, kv_bytes_full_attention = 0;
  double prompt_tokens_total = 0, generation_tokens_total = 0, steps_total = 0;
  double evicted_prefill_total = 0, evicted_decode_total = 0;
  struct Histogram {
    std::string phase;
    double count = 0, seconds = 0;
    std::vector<double> buckets;  // cumulative, for kStepSecondsBuckets
  };
  std::vector<Histogram> step_seconds;
  double weight_bytes = 0, kv_bytes = 0, workspace_bytes = 0, free_bytes = 0;  // of the devices, at start
};

class Metrics {
 public:
  explicit Metrics(std::string model_name);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void group_up(const std::string& group, bool up, double epoch);
  void group_figures(const std::string& group, const GroupFigures& figures);
  // Of a group that is up: seconds since its last message, and since all of its ranks were known to answer.
  void group_silence(const std::string& group, double message_age, double round_trip_age);

  void requests_waiting(double requests, double tokens);
  void requests_waiting_for(double pages, double sequences, double group);
  void requests_replayed(double total);  // since the coordinator's start; never less than before
  void request_rejected(const std::string& reason);
  void first_token(double seconds);  // since the request was accepted
  void inter_token(double seconds);
  void request_finished(const std::string& finish_reason, double seconds);
  void http_response(int status);

  std::string text() const;  // Prometheus exposition format

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace batchmax::monitoring
