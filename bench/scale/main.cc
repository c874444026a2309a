// What the coordinator costs with many groups and many streams: the product's routing and gateway in one
// process, simulated groups and clients on two threads of another, real sockets between them.
//   bench_scale [--groups N] [--streams N] [--rate R] [--tokens N] [--ramp S] [--seconds S] [--json FILE]
//   idle       CPU of the coordinator with all groups connected and nobody asking, as a share of a core
//   per token  CPU of the coordinator while all streams run, less what idle takes, by tokens that clients got
//   memory     growth of resident memory from no stream to all of them, by streams
//   routing    from the gateway's submit() to the Submit frame being parsed in the group, for requests that
//   came
//              while all streams ran, and (arriving) for those before
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <fstream>
#include <functional>
#include <mutex>
#include <thread>

#include "bench/scale/clients.h"
#include "bench/scale/coordinator.h"
#include "tests/coordinator/routing/fake_leader.h"

namespace batchmax::bench {
namespace {

using coordinator::FakeLeader;

struct Options {
  int groups = 200, streams = 5000;
  double rate = 2;  // tokens per second of a stream
  int tokens = 100;
  double ramp = 5;
  double seconds = 10;
  std::string json;
};

// Seconds from submit to Submit, of all groups; one event loop adds, another thread takes.
class Latencies {
 public:
  void add(double seconds) {
    const std::lock_guard lock(mutex_);
    all_.push_back(seconds);
  }
  std::vector<double> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(all_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<double> all_;
};

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

void wait(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

void wait_until(const char* what, const std::function<bool()>& condition) {
  for (int i = 0; i < 1200 && !condition(); ++i) wait(0.1);
  if (!condition()) throw std::runtime_error(std::string("not within two minutes: ") + what);
}

std::vector<std::shared_ptr<FakeLeader>> start_groups(const Options& options,
                                                      const CoordinatorProcess& coordinator,
                                                      SubmitTimes& times, Latencies& latencies,
                                                      boost::asio::io_context& loop) {
  std::vector<std::shared_ptr<FakeLeader>> groups;
  for (int i = 0; i < options.groups; ++i) {
    FakeLeader::Behaviour behaviour;
    behaviour.group = "g" + std::to_string(i);
    behaviour.digest = coordinator.settings_digest;
    behaviour.heartbeat_interval = std::chrono::milliseconds(250);  // as a real leader
    behaviour.max_num_seqs = static_cast<uint32_t>(2 * options.streams / options.groups + 1);
    behaviour.capacity_pages = 32 * behaviour.max_num_seqs;
    behaviour.step = std::chrono::nanoseconds(static_cast<int64_t>(1e9 / options.rate));
    behaviour.on_submit = [&times, &latencies](const comm::pb::Submit& submit) {
      latencies.add(times.seconds_since(submit.sampling().seed()));
    };
    groups.push_back(FakeLeader::start(loop.get_executor(), coordinator.groups_port, std::move(behaviour)));
  }
  return groups;
}

void print(const Options& options, const boost::json::object& result) {
  for (const auto& [name, value] : result) {
    std::printf("%-28s %12.3f\n", std::string(name).c_str(), value.to_number<double>());
  }
  if (!options.json.empty()) std::ofstream(options.json) << boost::json::serialize(result) << "\n";
}

boost::json::object measure(const Options& options) {
  SubmitTimes times;
  const CoordinatorProcess coordinator = start_coordinator(times);
  Latencies latencies;
  boost::asio::io_context group_loop(1), client_loop(1);
  const auto groups = start_groups(options, coordinator, times, latencies, group_loop);
  std::jthread group_thread([&] { group_loop.run(); });
  wait_until("all groups have joined", [&] {
    return std::all_of(groups.begin(), groups.end(), [](const auto& group) { return group->welcome; });
  });
  wait(1);
  const double idle_before = coordinator.cpu_seconds();
  wait(3);
  const double idle = (coordinator.cpu_seconds() - idle_before) / 3;
  const double empty_bytes = coordinator.resident_bytes();

  Clients clients(client_loop.get_executor(),
                  {coordinator.http_port, options.streams, options.ramp, options.tokens});
  clients.start();
  std::jthread client_thread([&] { client_loop.run(); });
  wait_until("all streams run", [&] { return clients.streaming() == options.streams; });
  wait(1);
  const double full_bytes = coordinator.resident_bytes();
  const std::vector<double> arriving = latencies.take();

  const double cpu_before = coordinator.cpu_seconds();
  const int64_t tokens_before = clients.tokens();
  const auto begin = std::chrono::steady_clock::now();
  wait(options.seconds);
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double cpu = coordinator.cpu_seconds() - cpu_before;
  const auto tokens = static_cast<double>(clients.tokens() - tokens_before);
  const std::vector<double> routed = latencies.take();
  const int failed = clients.failed();
  group_loop.stop();
  client_loop.stop();
  group_thread.join();
  client_thread.join();
  coordinator.end();

  const double offered = options.streams * options.rate;
  return {{"groups", options.groups},
          {"streams", options.streams},
          {"offered_tokens_per_s", offered},
          {"delivered_tokens_per_s", tokens / took},
          {"failed_streams", failed},
          {"idle_core_share", idle},
          {"core_share", cpu / took},
          {"cpu_us_per_token", 1e6 * (cpu - idle * took) / tokens},
          {"resident_mib_without_streams", empty_bytes / (1 << 20)},
          {"kib_per_stream", (full_bytes - empty_bytes) / 1024 / options.streams},
          {"requests_routed", routed.size()},
          {"routing_arriving_p99_ms", 1e3 * quantile(arriving, 0.99)},
          {"routing_p50_ms", 1e3 * quantile(routed, 0.5)},
          {"routing_p99_ms", 1e3 * quantile(routed, 0.99)}};
}

}  // namespace
}  // namespace batchmax::bench

int main(int argc, char** argv) {
  batchmax::bench::Options options;
  CLI::App app{"The coordinator under many simulated groups and streams"};
  app.add_option("--groups", options.groups, "Simulated groups")->check(CLI::Range(1, 10000));
  app.add_option("--streams", options.streams, "Clients that stream at once")->check(CLI::Range(1, 50000));
  app.add_option("--rate", options.rate, "Tokens per second of a stream")->check(CLI::Range(0.1, 1000.0));
  app.add_option("--tokens", options.tokens, "Least tokens of an answer; most: twice as many")
      ->check(CLI::Range(1, 2000));
  app.add_option("--ramp", options.ramp, "Seconds over which the clients arrive")
      ->check(CLI::Range(0.1, 600.0));
  app.add_option("--seconds", options.seconds, "Length of the measurement")->check(CLI::Range(1.0, 3600.0));
  app.add_option("--json", options.json, "Also write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  try {
    batchmax::bench::print(options, batchmax::bench::measure(options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_scale: %s\n", error.what());
    return 1;
  }
  return 0;
}
