#include "bench/scale/coordinator.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <fstream>
#include <stdexcept>

#include "coordinator/gateway/gateway.h"
#include "coordinator/routing/cluster.h"
#include "coordinator/text/tokenizer.h"

namespace batchmax::bench {
namespace {

using namespace coordinator;

// Notes when a request is given to the cluster.
class TimedBackend final : public TokenBackend {
 public:
  TimedBackend(Cluster& cluster, SubmitTimes& times) : backend_(cluster), times_(times) {}
  std::variant<std::unique_ptr<TokenSource>, Rejection> submit(TokenRequest request) override {
    times_.submitted(request.sampling.seed);
    return backend_.submit(std::move(request));
  }
  std::optional<ModelFacts> model() const override { return backend_.model(); }
  int32_t healthy_groups() const override { return backend_.healthy_groups(); }
  std::vector<GroupStatus> groups() const override { return backend_.groups(); }
  int32_t requests_waiting() const override { return backend_.requests_waiting(); }
  boost::asio::awaitable<bool> health(std::chrono::milliseconds timeout) override {
    return backend_.health(timeout);
  }

 private:
  ClusterBackend backend_;
  SubmitTimes& times_;
};

config::Settings make_settings() {
  config::Settings settings;
  settings.model = std::string(BATCHMAX_SOURCE_DIR) + "/demo/longbook-17m";
  settings.port = 0;
  settings.worker_port = 0;
  settings.max_connections = 1 << 16;
  settings.max_num_queued_reqs = 1 << 16;
  return settings;
}

[[noreturn]] void serve(const config::Settings& settings, SubmitTimes& times, int ports) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  boost::asio::io_context loop(1);
  const Tokenizer tokenizer = Tokenizer::load(settings.model);
  monitoring::Metrics metrics("longbook-17m");
  Cluster cluster(loop.get_executor(), settings, "secret", metrics, monitoring::Log::silent());
  TimedBackend backend(cluster, times);
  Gateway gateway({loop.get_executor(), settings, backend, TextTools{&tokenizer, nullptr}, metrics,
                   monitoring::Log::silent(), 1, "0", nullptr});
  const uint16_t opened[2] = {gateway.listen(), cluster.listen()};
  if (::write(ports, opened, sizeof(opened)) != sizeof(opened)) ::_exit(1);
  loop.run();
  ::_exit(0);
}

}  // namespace

double CoordinatorProcess::cpu_seconds() const {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) {
    throw std::runtime_error("the coordinator has ended");
  }
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double CoordinatorProcess::resident_bytes() const {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  double pages = 0, resident = 0;
  if (!(file >> pages >> resident)) throw std::runtime_error("the coordinator has ended");
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

void CoordinatorProcess::end() const {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

CoordinatorProcess start_coordinator(SubmitTimes& times) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  const config::Settings settings = make_settings();
  CoordinatorProcess started;
  started.settings_digest = config::shared_digest(settings);
  started.pid = ::fork();
  if (started.pid < 0) throw std::runtime_error("fork");
  if (started.pid == 0) {
    ::close(ends[0]);
    serve(settings, times, ends[1]);
  }
  ::close(ends[1]);
  uint16_t ports[2];
  if (::read(ends[0], ports, sizeof(ports)) != sizeof(ports)) {
    throw std::runtime_error("the coordinator did not start");
  }
  ::close(ends[0]);
  started.http_port = ports[0];
  started.groups_port = ports[1];
  return started;
}

}  // namespace batchmax::bench
