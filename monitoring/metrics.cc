#include "monitoring/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <map>
#include <mutex>

#include "monitoring/buckets.h"

namespace batchmax::monitoring {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

ClientMetric::Label label(std::string name, std::string value) {
  ClientMetric::Label pair;
  pair.name = std::move(name);
  pair.value = std::move(value);
  return pair;
}

// What existing boards and gateways read, as copies of our own families.
struct Alias {
  const char* ours;
  const char* theirs;
};
constexpr Alias kAliases[] = {
    {"batchmax_sequences_running", "vllm:num_requests_running"},
    {"batchmax_requests_waiting", "vllm:num_requests_waiting"},
    {"batchmax_kv_cache_usage", "vllm:kv_cache_usage_perc"},
    {"batchmax_prompt_tokens_total", "vllm:prompt_tokens_total"},
    {"batchmax_generation_tokens_total", "vllm:generation_tokens_total"},
    {"batchmax_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
    {"batchmax_inter_token_seconds", "vllm:inter_token_latency_seconds"},
    {"batchmax_request_seconds", "vllm:e2e_request_latency_seconds"},
    {"batchmax_requests_total", "vllm:request_success_total"},
};

const prometheus::Histogram::BucketBoundaries kLatencyBuckets() {
  return {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300};
}

}  // namespace

class Metrics::Implementation {
 public:
  explicit Implementation(std::string model_name)
      : model_name_(std::move(model_name)),
        waiting_(gauge("batchmax_requests_waiting", "Requests in the admission queue")),
        waiting_for_(gauges("batchmax_requests_waiting_for", "Of them by what they wait for")),
        waiting_tokens_(gauge("batchmax_requests_waiting_tokens", "Prompt tokens in the admission queue")),
        replayed_(
            counters("batchmax_requests_replayed_total", "Attempts after the first, their group was lost")
                .Add({})),
        rejected_(counters("batchmax_requests_rejected_total", "Requests refused at admission, by reason")),
        finished_(counters("batchmax_requests_total", "Requests ended, by finish reason")),
        responses_(counters("batchmax_http_responses_total", "HTTP answers, by status")),
        first_token_(histogram("batchmax_time_to_first_token_seconds", "Acceptance to first token")),
        inter_token_(histogram("batchmax_inter_token_seconds", "Between two tokens of a stream")),
        request_(histogram("batchmax_request_seconds", "Acceptance to last token")) {
    // A series that begins with its first event hides that event from rate().
    for (const char* reason : {"queue_full", "no_group", "never_fits", "draining"})
      rejected_.Add({{"reason", reason}});
    for (const char* reason : {"stop", "length", "abort", "error"})
      finished_.Add({{"finish_reason", reason}});
  }

  std::vector<MetricFamily> collect() const {
    std::vector<MetricFamily> families = registry_.Collect();
    add_groups(families);
    add_aliases(families);
    return families;
  }

  prometheus::Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add({});
  }
  prometheus::Family<prometheus::Gauge>& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
  }
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
  }
  prometheus::Histogram& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add({}, kLatencyBuckets());
  }

  struct Group {
    bool up = false;
    double epoch = 0;
    double restarts = 0, losses = 0;
    double message_age = 0, round_trip_age = 0;  // NaN while it is not up
    GroupFigures figures;
  };

  std::string model_name_;
  prometheus::Registry registry_;
  prometheus::Gauge& waiting_;
  prometheus::Family<prometheus::Gauge>& waiting_for_;
  prometheus::Gauge& waiting_tokens_;
  prometheus::Counter& replayed_;
  prometheus::Family<prometheus::Counter>& rejected_;
  prometheus::Family<prometheus::Counter>& finished_;
  prometheus::Family<prometheus::Counter>& responses_;
  prometheus::Histogram& first_token_;
  prometheus::Histogram& inter_token_;
  prometheus::Histogram& request_;
  mutable std::mutex mutex_;
  std::map<std::string, Group> groups_;

 private:
  // One sample per group that has reported; `extra` labels go beside the group's.
  template <typename Value>
  void add(std::vector<MetricFamily>& families, const char* name, const char* help, MetricType type,
           Value value, const Labels& extra = {}) const {
    MetricFamily* family = nullptr;
    for (MetricFamily& known : families) {
      if (known.name == name) family = &known;
    }
    if (family == nullptr) {
      families.emplace_back();
      family = &families.back();
      family->name = name;
      family->help = help;
      family->type = type;
    }
    for (const auto& [group, state] : groups_) {
      ClientMetric metric;
      metric.label = {label("group", group)};
      metric.label.insert(metric.label.end(), extra.begin(), extra.end());
      (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value(state);
      family->metric.push_back(std::move(metric));
    }
  }

  void add_groups(std::vector<MetricFamily>& families) const {
    const std::lock_guard lock(mutex_);
    if (groups_.empty()) return;
    const auto gauge_of = [&](const char* name, const char* help, double GroupFigures::*member) {
      add(families, name, help, MetricType::Gauge,
          [member](const Group& group) { return group.figures.*member; });
    };
    const auto counter_of = [&](const char* name, const char* help, double GroupFigures::*member,
                                const Labels& extra = {}) {
      add(
          families, name, help, MetricType::Counter,
          [member](const Group& group) { return group.figures.*member; }, extra);
    };
    add(families, "batchmax_group_up", "1: the group is connected and answers", MetricType::Gauge,
        [](const Group& group) { return group.up ? 1.0 : 0.0; });
    add(families, "batchmax_group_epoch", "Starts of the group", MetricType::Gauge,
        [](const Group& group) { return group.epoch; });
    add(families, "batchmax_group_restarts_total", "Starts after the first that this coordinator saw",
        MetricType::Counter, [](const Group& group) { return group.restarts; });
    add(families, "batchmax_group_losses_total", "Times that the connected group was lost",
        MetricType::Counter, [](const Group& group) { return group.losses; });
    add(families, "batchmax_group_message_age_seconds", "Since the group's last message", MetricType::Gauge,
        [](const Group& group) { return group.message_age; });
    add(families, "batchmax_group_round_trip_age_seconds",
        "Since all ranks of the group were known to answer", MetricType::Gauge,
        [](const Group& group) { return group.round_trip_age; });
    gauge_of("batchmax_kv_pages_total", "KV pages of 64 slots, per rank", &GroupFigures::pages_total);
    gauge_of("batchmax_kv_pages_free", "KV pages that no sequence has reserved", &GroupFigures::pages_free);
    gauge_of("batchmax_kv_pages_reserved", "KV pages reserved for admitted sequences",
             &GroupFigures::pages_reserved);
    add(families, "batchmax_kv_cache_usage", "Share of the KV pages that is reserved, 0 to 1",
        MetricType::Gauge, [](const Group& group) {
          const GroupFigures& figures = group.figures;
          return figures.pages_total > 0 ? figures.pages_reserved / figures.pages_total : 0.0;
        });
    gauge_of("batchmax_kv_bytes_held", "Bytes of K, V and slot state held, over all ranks",
             &GroupFigures::kv_bytes_held);
    gauge_of("batchmax_kv_bytes_peak", "Most of batchmax_kv_bytes_held since the group's start",
             &GroupFigures::kv_bytes_peak);
    gauge_of("batchmax_kv_bytes_full_attention",
             "Bytes that the running sequences would hold without eviction",
             &GroupFigures::kv_bytes_full_attention);
    gauge_of("batchmax_kv_bytes_capacity", "Bytes given to the KV cache, over all ranks",
             &GroupFigures::kv_bytes);
    gauge_of("batchmax_sequences_running", "Sequences in the group", &GroupFigures::sequences_running);
    gauge_of("batchmax_sequences_prefill", "Of them still in prefill", &GroupFigures::sequences_prefill);
    counter_of("batchmax_prompt_tokens_total", "Prompt tokens processed", &GroupFigures::prompt_tokens_total);
    counter_of("batchmax_generation_tokens_total", "Tokens generated",
               &GroupFigures::generation_tokens_total);
    counter_of("batchmax_steps_total", "Steps run", &GroupFigures::steps_total);
    counter_of("batchmax_tokens_evicted_total", "Slots per KV head evicted, by phase",
               &GroupFigures::evicted_prefill_total, {label("phase", "prefill")});
    counter_of("batchmax_tokens_evicted_total", "", &GroupFigures::evicted_decode_total,
               {label("phase", "decode")});
    add_device_memory(families);
    add_step_seconds(families);
  }

  void add_device_memory(std::vector<MetricFamily>& families) const {
    const auto use = [&](const char* name, double GroupFigures::*member) {
      add(families, "batchmax_device_memory_bytes", "Memory of the devices by use, over all ranks",
          MetricType::Gauge, [member](const Group& group) { return group.figures.*member; },
          {label("use", name)});
    };
    use("weights", &GroupFigures::weight_bytes);
    use("kv_cache", &GroupFigures::kv_bytes);
    use("workspace", &GroupFigures::workspace_bytes);
    use("free", &GroupFigures::free_bytes);
  }

  void add_step_seconds(std::vector<MetricFamily>& families) const {
    MetricFamily family;
    family.name = "batchmax_step_seconds";
    family.help =
        "Seconds of a step by phase (decode, prefill, mixed) and of its parts (all_reduce, selection, plan)";
    family.type = MetricType::Histogram;
    for (const auto& [group, state] : groups_) {
      for (const GroupFigures::Histogram& histogram : state.figures.step_seconds) {
        ClientMetric metric;
        metric.label = {label("group", group), label("phase", histogram.phase)};
        metric.histogram.sample_count = static_cast<uint64_t>(histogram.count);
        metric.histogram.sample_sum = histogram.seconds;
        for (size_t i = 0; i < histogram.buckets.size() && i < kStepSecondsBuckets.size(); ++i) {
          metric.histogram.bucket.push_back(
              {static_cast<uint64_t>(histogram.buckets[i]), kStepSecondsBuckets[i]});
        }
        metric.histogram.bucket.push_back(
            {static_cast<uint64_t>(histogram.count), std::numeric_limits<double>::infinity()});
        family.metric.push_back(std::move(metric));
      }
    }
    if (!family.metric.empty()) families.push_back(std::move(family));
  }

  void add_aliases(std::vector<MetricFamily>& families) const {
    const size_t own = families.size();
    for (const Alias& alias : kAliases) {
      for (size_t i = 0; i < own; ++i) {
        if (families[i].name != alias.ours) continue;
        MetricFamily copy = families[i];
        copy.name = alias.theirs;
        for (ClientMetric& metric : copy.metric) {
          for (ClientMetric::Label& pair : metric.label) {
            if (pair.name == "finish_reason") pair.name = "finished_reason";
          }
          metric.label.push_back(label("model_name", model_name_));
        }
        families.push_back(std::move(copy));
      }
    }
  }
};

Metrics::Metrics(std::string model_name)
    : implementation_(std::make_unique<Implementation>(std::move(model_name))) {}
Metrics::~Metrics() = default;

void Metrics::group_up(const std::string& group, bool up, double epoch) {
  const std::lock_guard lock(implementation_->mutex_);
  Implementation::Group& state = implementation_->groups_[group];
  if (up && state.epoch != 0 && epoch != state.epoch) ++state.restarts;
  if (state.up && !up) ++state.losses;
  state.up = up;
  state.epoch = epoch;
  if (!up) {  // what a dead group held is gone; its totals stay until the next epoch counts from 0
    GroupFigures& figures = state.figures;
    figures.pages_total = figures.pages_free = figures.pages_reserved = 0;
    figures.sequences_running = figures.sequences_prefill = 0;
    figures.kv_bytes_held = figures.kv_bytes_full_attention = 0;
    state.message_age = state.round_trip_age = std::numeric_limits<double>::quiet_NaN();
  }
}

void Metrics::group_figures(const std::string& group, const GroupFigures& figures) {
  const std::lock_guard lock(implementation_->mutex_);
  implementation_->groups_[group].figures = figures;
}

void Metrics::group_silence(const std::string& group, double message_age, double round_trip_age) {
  const std::lock_guard lock(implementation_->mutex_);
  Implementation::Group& state = implementation_->groups_[group];
  state.message_age = message_age;
  state.round_trip_age = round_trip_age;
}

void Metrics::requests_waiting(double requests, double tokens) {
  implementation_->waiting_.Set(requests);
  implementation_->waiting_tokens_.Set(tokens);
}
void Metrics::requests_waiting_for(double pages, double sequences, double group) {
  implementation_->waiting_for_.Add({{"reason", "pages"}}).Set(pages);
  implementation_->waiting_for_.Add({{"reason", "sequences"}}).Set(sequences);
  implementation_->waiting_for_.Add({{"reason", "group"}}).Set(group);
}
void Metrics::requests_replayed(double total) {
  implementation_->replayed_.Increment(total - implementation_->replayed_.Value());
}
void Metrics::request_rejected(const std::string& reason) {
  implementation_->rejected_.Add({{"reason", reason}}).Increment();
}
void Metrics::first_token(double seconds) { implementation_->first_token_.Observe(seconds); }
void Metrics::inter_token(double seconds) { implementation_->inter_token_.Observe(seconds); }
void Metrics::request_finished(const std::string& finish_reason, double seconds) {
  implementation_->finished_.Add({{"finish_reason", finish_reason}}).Increment();
  implementation_->request_.Observe(seconds);
}
void Metrics::http_response(int status) {
  implementation_->responses_.Add({{"code", std::to_string(status)}}).Increment();
}

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(implementation_->collect());
}

}  // namespace batchmax::monitoring
