#include "coordinator/client/bench_command.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cmath>
#include <random>

#include "coordinator/client/api_client.h"
#include "coordinator/client/conversation.h"
#include "coordinator/client/flags.h"
#include "coordinator/client/server_address.h"
#include "coordinator/client/terminal_text.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using Clock = std::chrono::steady_clock;

struct BenchFlags {
  ServerFlags server;
  std::optional<int64_t> input = 1024;
  std::optional<int64_t> output = 128;
  std::optional<int64_t> requests = 32;
  std::optional<int64_t> concurrency = 8;
  // Every model has that many, and special tokens of many stand before or after.
  std::optional<int64_t> vocabulary = 1000;
  std::optional<int64_t> seed = 1;
  std::optional<int64_t> kv_budget;
  std::string compression;
};

std::vector<Flag> flags_of(BenchFlags& bench) {
  std::vector<Flag> flags;
  add_server_flags(flags, bench.server);
  std::vector<Flag> own;
  own.push_back(integer_flag("input", 1, 1 << 24, "Tokens of a prompt.", bench.input));
  own.push_back(integer_flag("output", 1, 1 << 24, "Tokens of an answer.", bench.output));
  own.push_back(integer_flag("requests", 1, 1 << 20, "Requests in all.", bench.requests));
  own.push_back(integer_flag("concurrency", 1, 1 << 14, "Requests at once.", bench.concurrency));
  own.push_back(integer_flag("vocabulary", 16, 1 << 24, "Prompts are random token ids from 10 to below this.",
                             bench.vocabulary));
  own.push_back(
      integer_flag("seed", 0, 1LL << 62, "Of those ids: the same seed, the same prompts.", bench.seed));
  own.push_back(integer_flag("kv-budget", 1, 1LL << 31, "Sent with each request; empty: the server's.",
                             bench.kv_budget));
  own.push_back(choice_flag("compression", {"off", "decode", "full"},
                            "Sent with each request; empty: the server's.", bench.compression));
  add_section(flags, "Load", std::move(own));
  return flags;
}

// Tokens and seconds of all requests together.
struct Measured {
  std::vector<double> first;    // until the first piece of an answer
  std::vector<double> between;  // between two pieces: of one token each, where the server sends them so
  std::vector<double> whole;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t failed = 0;
  std::string failure;  // the first
};

std::string body_of(const BenchFlags& flags, const std::string& model, int64_t number) {
  std::mt19937_64 draw(static_cast<uint64_t>(*flags.seed * 1'000'003 + number));
  std::uniform_int_distribution<int64_t> id(10, *flags.vocabulary - 1);
  json::array prompt;
  for (int64_t i = 0; i < *flags.input; ++i) prompt.push_back(id(draw));
  json::object body;
  body["model"] = model;
  body["prompt"] = std::move(prompt);
  body["max_tokens"] = *flags.output;
  body["ignore_eos"] = true;
  body["temperature"] = 0;
  body["stream"] = true;
  body["stream_options"] = json::object{{"include_usage", true}};
  if (flags.kv_budget) body["kv_budget"] = *flags.kv_budget;
  if (!flags.compression.empty()) body["compression"] = flags.compression;
  return json::serialize(body);
}

class Bench {
 public:
  Bench(BenchFlags flags, ServerAddress server, std::string model)
      : flags_(std::move(flags)),
        client_(loop_.get_executor(), std::move(server)),
        model_(std::move(model)) {}

  // Seconds of the whole run.
  double measure() {
    const Clock::time_point start = Clock::now();
    for (int64_t i = 0; i < std::min(*flags_.concurrency, *flags_.requests); ++i)
      asio::co_spawn(loop_, work(), asio::detached);
    loop_.run();
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  const Measured& measured() const { return measured_; }

 private:
  asio::awaitable<void> work() {
    while (next_ < *flags_.requests) {
      std::string body = body_of(flags_, model_, next_++);
      try {
        co_await one(std::move(body));
      } catch (const std::exception& error) {
        if (measured_.failed++ == 0) measured_.failure = error.what();
      }
    }
  }

  asio::awaitable<void> one(std::string body) {
    const Clock::time_point start = Clock::now();
    Clock::time_point last = start;
    const auto lap = [&](Clock::time_point from) {
      last = Clock::now();
      return std::chrono::duration<double>(last - from).count();
    };
    bool begun = false;
    std::function<void(std::string_view)> take = [&](std::string_view event) {
      const AnswerPiece piece = parse_piece(event);
      if (piece.has_choice && piece.finish_reason.empty()) {
        if (std::exchange(begun, true)) {
          measured_.between.push_back(lap(last));
        } else {
          measured_.first.push_back(lap(start));
        }
      }
      measured_.prompt_tokens += piece.prompt_tokens.value_or(0);
      measured_.output_tokens += piece.completion_tokens.value_or(0);
    };
    co_await client_.stream("/v1/completions", std::move(body), std::move(take));
    measured_.whole.push_back(lap(start));
  }

  BenchFlags flags_;
  asio::io_context loop_{1};
  ApiClient client_;
  std::string model_;
  int64_t next_ = 0;
  Measured measured_;
};

// The value that `share` of them do not exceed (nearest rank), in milliseconds.
std::string percentile(std::vector<double> seconds, double share) {
  if (seconds.empty()) return "-";
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(seconds.size())));
  const auto at = seconds.begin() + static_cast<ptrdiff_t>(std::max<size_t>(rank, 1) - 1);
  std::nth_element(seconds.begin(), at, seconds.end());
  return fmt::format("{:.2f}", *at * 1000);
}

void report(const Measured& measured, double seconds) {
  fmt::print("{:<24}{:>10}\n", "requests", measured.whole.size());
  fmt::print("{:<24}{:>10.3f}\n", "seconds", seconds);
  fmt::print("{:<24}{:>10.1f}\n", "prompt tokens/s", static_cast<double>(measured.prompt_tokens) / seconds);
  fmt::print("{:<24}{:>10.1f}\n\n", "output tokens/s", static_cast<double>(measured.output_tokens) / seconds);
  fmt::print("{:<24}{:>10}{:>10}\n", "milliseconds", "p50", "p99");
  const auto row = [](const char* name, const std::vector<double>& values) {
    fmt::print("{:<24}{:>10}{:>10}\n", name, percentile(values, 0.5), percentile(values, 0.99));
  };
  row("to the first token", measured.first);
  row("between tokens", measured.between);
  row("whole request", measured.whole);
}

}  // namespace

config::Command bench_description() {
  BenchFlags defaults;
  return describe("bench", "[flags]", "measure a running server", flags_of(defaults));
}

int bench_command(const std::vector<std::string>& arguments,
                  const std::map<std::string, std::string>& environment) {
  BenchFlags flags;
  Arguments read = read_arguments(arguments, flags_of(flags));
  for (const std::string& word : read.positionals)
    read.errors.push_back(fmt::format("'{}' is no flag; a server is named with --url", word));
  if (const auto status = end_early(read, bench_description())) return *status;
  try {
    const ServerAddress server = resolve(flags.server, environment);
    const std::string model = find_model(server, flags.server.model);
    Bench bench(flags, server, model);
    fmt::print("{}: {} requests of {} + {} tokens, {} at once\n\n", one_line(model), *flags.requests,
               *flags.input, *flags.output, *flags.concurrency);
    std::fflush(stdout);
    const double seconds = bench.measure();
    const Measured& measured = bench.measured();
    report(measured, seconds);
    if (measured.failed == 0) return 0;
    fmt::print(stderr, "batchmax bench: {} requests failed, the first because: {}\n", measured.failed,
               one_line(measured.failure));
    return 1;
  } catch (const UsageError& error) {
    fmt::print(stderr, "batchmax bench: {}\n", one_line(error.what()));
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "batchmax bench: {}\n", one_line(error.what()));
    return 1;
  }
}

}  // namespace batchmax::coordinator
