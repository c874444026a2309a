#include "coordinator/serve.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/resource.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <stdexcept>

#include "comm/transport/secret.h"
#include "comm/transport/tls.h"
#include "coordinator/gateway/gateway.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/routing/cluster.h"
#include "coordinator/text/chat_template.h"
#include "coordinator/text/tokenizer.h"
#include "monitoring/clock.h"
#include "monitoring/log.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

constexpr auto kQuiet = asio::as_tuple(asio::use_awaitable);

monitoring::Log make_log(const config::Settings& settings) {
  monitoring::Log::Options options;
  options.program = "batchmax";
  options.json = settings.log_format == "json";
  options.level = monitoring::level_from_name(settings.log_level);
  return monitoring::Log(options);
}

void check_model_folder(const config::Settings& settings) {
  if (settings.model.empty()) {
    throw std::runtime_error(
        "no model was named: batchmax serve FOLDER, a folder with config.json and *.safetensors");
  }
  if (!fs::is_directory(settings.model)) {
    throw std::runtime_error(
        fmt::format("{} is no folder: name the folder of a Hugging Face checkpoint", settings.model));
  }
  if (!fs::exists(fs::path(settings.model) / "config.json")) {
    throw std::runtime_error(fmt::format(
        "{}/config.json is not there: name the folder of a Hugging Face checkpoint", settings.model));
  }
}

std::string shared_secret(const config::Settings& settings,
                          const std::map<std::string, std::string>& environment, const monitoring::Log& log) {
  const auto variable = environment.find("BATCHMAX_SECRET");
  const char* value = variable == environment.end() ? nullptr : variable->second.c_str();
  if (settings.secret_file.empty() && value == nullptr && settings.groups > 0) return comm::make_secret();
  auto loaded = comm::load_secret(settings.secret_file, value);
  if (const auto* error = std::get_if<comm::SecretError>(&loaded)) throw std::runtime_error(error->message);
  const auto& secret = std::get<comm::Secret>(loaded);
  if (!secret.warning.empty()) log.warning(secret.warning);
  return secret.value;
}

// What the model folder has of text. The tokenizer's absence is fine: clients then send token ids.
struct Texts {
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  TokenizerFacts facts;
};

Texts load_texts(const config::Settings& settings, const monitoring::Log& log) {
  Texts texts;
  if (!Tokenizer::is_in(settings.model)) {
    if (settings.load_format != "dummy") {
      throw std::runtime_error(
          fmt::format("{}: neither tokenizer.json nor tokenizer.model is there: add one, or use "
                      "--load-format dummy, which can do without",
                      settings.model));
    }
    log.warning("no tokenizer.json or tokenizer.model: prompts must be lists of token ids",
                {{"model", settings.model}});
    return texts;
  }
  texts.tokenizer = Tokenizer::load(settings.model);
  const std::string& named = settings.chat_template;
  try {
    texts.chat_template = ChatTemplate::load(settings.model, named);
  } catch (const std::runtime_error& error) {
    const std::string_view reason = error.what();
    if (!named.empty() && reason.starts_with(named))
      throw std::runtime_error(fmt::format("--chat-template: {}", reason));
    if (!named.empty()) throw;  // of tokenizer_config.json
    log.warning("no chat template: /v1/chat/completions is off", {{"reason", reason}});
  }
  texts.facts = TokenizerFacts::load(settings.model, named);
  return texts;
}

// What the groups that serve starts need to trust this coordinator. They may be started elsewhere.
void tell_groups_whom_to_trust(config::Settings& settings) {
  std::string& authorities = settings.worker_ssl_ca_certs;
  if (settings.worker_ssl_certfile.empty()) {
    if (authorities.empty()) return;
    throw std::runtime_error(
        "--worker-ssl-ca-certs makes groups dial with TLS, but this coordinator has no certificate: give "
        "--worker-ssl-certfile");
  }
  if (authorities.empty()) authorities = settings.worker_ssl_certfile;
  authorities = fs::absolute(authorities).lexically_normal().string();
}

// Each connection is a descriptor, and the usual soft limit of 1,024 is below --max-connections.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// The parts in the order in which they depend on each other, and what happens to them from start to end.
class Server {
 public:
  Server(config::Settings settings, const std::map<std::string, std::string>& environment,
         std::string program, std::string version)
      : settings_(std::move(settings)),
        environment_(environment),
        log_(make_log(settings_)),
        texts_((check_model_folder(settings_), load_texts(settings_, log_))),
        secret_(shared_secret(settings_, environment_, log_)),
        metrics_(served_name(settings_)),
        signals_(loop_, SIGINT, SIGTERM),
        cluster_(loop_.get_executor(), settings_, secret_, metrics_, log_),
        backend_(cluster_),
        gateway_({loop_.get_executor(), settings_, backend_,
                  TextTools{texts_.tokenizer ? &*texts_.tokenizer : nullptr,
                            texts_.chat_template ? &*texts_.chat_template : nullptr, &texts_.facts},
                  metrics_, log_, random_seed(), std::move(version),
                  comm::listening_tls("ssl", settings_.ssl_certfile, settings_.ssl_keyfile)}),
        program_(std::move(program)) {
    // A terminal that closes is a reason to end, unless nohup said otherwise.
    struct sigaction hangup {};
    if (sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) signals_.add(SIGHUP);
  }

  int run() {
    settings_.api_keys.clear();  // the gateway has their hashes
    settings_.metrics_key.clear();
    const uint16_t port = gateway_.listen();
    settings_.worker_port = cluster_.listen();
    if (settings_.groups > 0) launch();
    const std::string host =
        settings_.host.find(':') == std::string::npos ? settings_.host : "[" + settings_.host + "]";
    log_.info(
        "listening",
        {{"url", fmt::format("{}://{}:{}", settings_.ssl_certfile.empty() ? "http" : "https", host, port)},
         {"model", served_name(settings_)},
         {"groups_port", settings_.worker_port}});
    asio::co_spawn(loop_, wait_for_signals(), asio::detached);
    asio::co_spawn(loop_, announce(), asio::detached);
    if (launcher_) launcher_->start();
    loop_.run();
    if (!failure_.empty()) fmt::print(stderr, "batchmax: {}\n", failure_);
    return failure_.empty() ? 0 : 1;
  }

 private:
  void launch() {
    Launcher::Parts parts{loop_.get_executor(),
                          settings_,
                          secret_,
                          program_,
                          environment_,
                          [this](const std::string& group) { return health_of(group); },
                          [this](const std::string& group, std::string_view line) { pass_on(group, line); },
                          [this](const std::string& reason) { group_failed(reason); },
                          log_};
    launcher_ = std::make_unique<Launcher>(std::move(parts));
  }

  std::optional<GroupHealth> health_of(const std::string& name) const {
    for (const GroupStatus& group : cluster_.groups()) {
      if (group.name == name)
        return GroupHealth{group.epoch, group.connected, group.healthy, group.requests_served};
    }
    return std::nullopt;
  }

  // What the ranks log is in our format already. Whether anybody still reads it is no reason to end.
  void pass_on(const std::string& group, std::string_view line) const {
    if (settings_.log_format != "json") {
      std::fputs(fmt::format("[{}] {}\n", group, line).c_str(), stderr);
    } else if (line.starts_with("{")) {
      std::fputs(fmt::format("{}\n", line).c_str(), stderr);
    } else if (!line.empty()) {
      log_.info("group output", {{"group", group}, {"line", line}});
    }
  }

  void group_failed(const std::string& reason) {
    log_.error("group given up", {{"reason", reason}});
    // Others may serve on; an operator sees batchmax_group_up 0. Who was told to end does not fail by it.
    if (cluster_.healthy_groups() > 0 || stopping_) return;
    failure_ = reason;
    begin_shutdown(std::chrono::seconds(0));
  }

  asio::awaitable<void> announce() {
    asio::steady_timer timer(loop_);
    while (cluster_.healthy_groups() == 0 && !stopping_) {
      timer.expires_after(std::chrono::milliseconds(50));
      co_await timer.async_wait(kQuiet);
    }
    if (!stopping_) log_.info("ready", {{"model", served_name(settings_)}});
  }

  asio::awaitable<void> wait_for_signals() {
    const auto [first_error, first] = co_await signals_.async_wait(kQuiet);
    if (first_error) co_return;
    log_.info("shutting down; a second signal ends at once",
              {{"signal", strsignal(first)}, {"shutdown_timeout_s", settings_.shutdown_timeout}});
    begin_shutdown(std::chrono::seconds(settings_.shutdown_timeout));
    const auto [second_error, second] = co_await signals_.async_wait(kQuiet);
    if (second_error) co_return;
    // The groups get SIGTERM because we die.
    launcher_.reset();
    std::_Exit(128 + second);
  }

  void begin_shutdown(std::chrono::seconds patience) {
    if (stopping_) return;
    stopping_ = true;
    asio::co_spawn(loop_, shut_down(patience), asio::detached);
  }

  asio::awaitable<void> shut_down(std::chrono::seconds patience) {
    gateway_.drain();
    cluster_.stop_accepting();
    asio::steady_timer timer(loop_);
    const auto deadline = clock_.now() + patience;
    while (gateway_.requests_open() > 0 && clock_.now() < deadline) {
      timer.expires_after(std::chrono::milliseconds(20));
      co_await timer.async_wait(kQuiet);
    }
    co_await gateway_.close();
    // Groups that are connected end by themselves; the others were never told to.
    const std::chrono::seconds grace(cluster_.healthy_groups() == settings_.groups ? 5 : 0);
    cluster_.close();
    if (launcher_) co_await launcher_->stop(grace);
    log_.info("ended");
    loop_.stop();
  }

  // Destroyed last: what still waits in it refers to nothing below once shut_down() has run.
  asio::io_context loop_{1};
  config::Settings settings_;
  std::map<std::string, std::string> environment_;
  monitoring::Log log_;
  monitoring::SteadyClock clock_;
  Texts texts_;
  std::string secret_;
  monitoring::Metrics metrics_;
  asio::signal_set signals_;
  Cluster cluster_;
  ClusterBackend backend_;
  Gateway gateway_;
  std::string program_;
  std::unique_ptr<Launcher> launcher_;
  bool stopping_ = false;
  std::string failure_;  // why there is nothing to serve with
};

}  // namespace

int serve(config::Settings settings, const std::map<std::string, std::string>& environment,
          const std::string& program, const std::string& version) {
  signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  // Groups may be started elsewhere, and the name that clients see comes from the path.
  if (!settings.model.empty()) settings.model = fs::absolute(settings.model).lexically_normal().string();
  tell_groups_whom_to_trust(settings);
  Server server(std::move(settings), environment, program, version);
  return server.run();
}

}  // namespace batchmax::coordinator
