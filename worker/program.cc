#include "worker/program.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "comm/group/mpi_runtime.h"
#include "comm/transport/secret.h"
#include "config/command.h"
#include "config/load.h"
#include "monitoring/clock.h"
#include "monitoring/log.h"
#include "worker/leader/session.h"
#include "worker/watchdog.h"

namespace batchmax::worker {
namespace {

// The exit status for "the same start will fail again": the launcher does not try again.
constexpr int kCannotSucceed = 2;

// Threads of a team wait for each other by spinning, for a millisecond and more unless told otherwise; where
// ranks or other programs share the cores, that takes them from who has work (README.md: measured). libgomp
// reads this when it is loaded: so once more.
void spin_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "2000", 1);  // some 5 us
  execv("/proc/self/exe", argv);
}

// What mpirun tells its children, before MPI can be asked.
bool first_of_world() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return rank == nullptr || std::string(rank) == "0";
}

// The settings, or the exit status. Only one rank speaks: all were given the same arguments.
std::variant<config::Settings, int> read_settings(const std::vector<std::string>& arguments) {
  const bool speaks = first_of_world();
  auto outcome = config::load(arguments, config::process_environment());
  if (const auto* errors = std::get_if<config::ConfigErrors>(&outcome)) {
    for (const std::string& message : errors->messages) {
      if (speaks) fmt::print(stderr, "batchmax-worker: {}\n", message);
    }
    return kCannotSucceed;
  }
  auto& loaded = std::get<config::Loaded>(outcome);
  if (loaded.help || loaded.print_config) {
    if (!speaks) return 0;
    fmt::print("{}", loaded.print_config
                         ? config::effective_config(loaded)
                         : "Usage: mpirun -np RANKS batchmax-worker --model FOLDER [flags]\n" +
                               config::options_text(config::serve_command()));
    return 0;
  }
  if (!loaded.positionals.empty() && loaded.settings.model.empty())
    loaded.settings.model = loaded.positionals[0];
  if (loaded.settings.model.empty()) {
    if (speaks) fmt::print(stderr, "batchmax-worker: no model was named: --model FOLDER\n");
    return kCannotSucceed;
  }
  if (loaded.settings.worker_port == 0) {
    if (speaks) {
      fmt::print(
          stderr,
          "batchmax-worker: --worker-port must name the port where the coordinator listens for groups\n");
    }
    return kCannotSucceed;
  }
  loaded.settings.model = std::filesystem::absolute(loaded.settings.model).lexically_normal().string();
  return loaded.settings;
}

// What a leader needs to be let in by the coordinator. Throws where a file is wrong.
struct Credentials {
  std::string secret;
  comm::DialOptions dial;
};

Credentials read_credentials(const config::Settings& settings) {
  auto loaded = comm::load_secret(settings.secret_file, std::getenv("BATCHMAX_SECRET"));
  if (const auto* error = std::get_if<comm::SecretError>(&loaded)) throw std::runtime_error(error->message);
  Credentials credentials;
  credentials.secret = std::get<comm::Secret>(loaded).value;
  credentials.dial.tls = comm::dialing_tls("worker-ssl", settings.worker_ssl_ca_certs);
  credentials.dial.tls_name =
      settings.worker_ssl_server_name.empty() ? settings.worker_host : settings.worker_ssl_server_name;
  return credentials;
}

// Grows with every start, as long as the machine's clock does not run backwards.
uint64_t epoch_now() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

// One mpirun may carry several groups.
std::string group_name(const config::Settings& settings, const comm::MpiRuntime& mpi) {
  const int ranks = settings.tensor_parallel_size;
  if (mpi.world_size() == ranks) return settings.group_name;
  return fmt::format("{}-{}", settings.group_name, mpi.world_rank() / ranks);
}

// Errors end all ranks, without unwinding: the device's work and the other ranks' may hang. Where every rank
// fails for the same reason, the first says so and ends the others meanwhile.
[[noreturn]] void fail(comm::MpiRuntime& mpi, const std::string& reason, int status) {
  if (mpi.world_rank() != 0) std::this_thread::sleep_for(std::chrono::seconds(2));
  fmt::print(stderr, "batchmax-worker: {}\n", reason);
  std::fflush(stderr);
  mpi.abort(status);
}

// The step thread's work; an exception of it ends the process.
template <typename Work>
void or_fail(comm::MpiRuntime& mpi, monitoring::Progress& progress, const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    progress.rest();
    fail(mpi, error.what(), 1);
  }
}

SessionResult lead(const config::Settings& settings, comm::MpiRuntime& mpi, comm::ControlGroup& control,
                   const Credentials& credentials, Replica& replica, monitoring::Progress& progress,
                   const monitoring::Clock& clock, const monitoring::Log& log) {
  const SchedulerLimits& limits = replica.scheduler_limits();
  // A sequence that runs causes two events at most, Submit and Cancel; the rest is room for pings.
  Inbox inbox(2 * static_cast<size_t>(limits.max_num_seqs) + 64);
  Outbox outbox(16 * static_cast<size_t>(limits.max_num_seqs) + 64);
  GroupReportBoard board;
  Session session({settings, replica.executor().facts(), group_name(settings, mpi), epoch_now(),
                   credentials.secret, inbox, outbox, board, clock, log, credentials.dial});
  LeaderLoop loop(limits, control, replica.executor(), inbox, outbox, board, progress, clock, log);
  SessionResult result;
  std::thread io([&] { result = session.run(); });
  or_fail(mpi, progress, [&] { loop.run(); });
  io.join();
  return result;
}

int run(const config::Settings& settings, comm::MpiRuntime& mpi, const ReplicaMaker& make,
        const monitoring::Log& log) {
  const auto control = mpi.control_group(settings.tensor_parallel_size);
  const auto tensors = mpi.tensor_group(settings.tensor_parallel_size);
  // Before the minutes that a checkpoint may take.
  Credentials credentials;
  if (control->rank() == 0) credentials = read_credentials(settings);
  const monitoring::SteadyClock clock;
  monitoring::Progress progress(clock);
  const auto replica = make(settings, *control, *tensors, clock, log, progress);
  const Watchdog watchdog(
      progress, clock, [rank = mpi.world_rank()](const std::string& reason) { end_process(rank, reason); });
  if (control->rank() != 0) {
    or_fail(mpi, progress, [&] { run_follower(*control, replica->executor(), progress); });
    return 0;
  }
  const SessionResult result = lead(settings, mpi, *control, credentials, *replica, progress, clock, log);
  if (result.end == SessionEnd::drained) return 0;
  fmt::print(stderr, "batchmax-worker: {}\n", result.reason);
  return result.end == SessionEnd::refused ? kCannotSucceed : 1;
}

// Open MPI's mpirun and its daemons end their ranks, unless they are killed themselves, or the rank is
// stopped.
void die_with_mpirun() {
  if (std::getenv("OMPI_COMM_WORLD_RANK") != nullptr) prctl(PR_SET_PDEATHSIG, SIGKILL);
}

}  // namespace

int run_program(int argc, char** argv, const ReplicaMaker& make_replica) {
  spin_briefly(argv);
  signal(SIGPIPE, SIG_IGN);
  die_with_mpirun();
  const auto outcome = read_settings({argv + 1, argv + argc});
  if (const int* status = std::get_if<int>(&outcome)) return *status;
  const auto& settings = std::get<config::Settings>(outcome);
  comm::MpiRuntime mpi(&argc, &argv);
  const monitoring::Log log({monitoring::level_from_name(settings.log_level), settings.log_format == "json",
                             fmt::format("batchmax-worker.{}", mpi.world_rank())});
  try {
    return run(settings, mpi, make_replica, log);
  } catch (const std::exception& error) {
    fail(mpi, error.what(), kCannotSucceed);
  }
}

}  // namespace batchmax::worker
