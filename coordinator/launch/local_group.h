// One group on this machine: starts its mpirun, passes on what it prints, and starts it again when it ends. A
// group that the coordinator has lost is killed: it may stand still.
// Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/launch/child_process.h"
#include "coordinator/launch/last_words.h"
#include "coordinator/launch/restart_policy.h"
#include "monitoring/log.h"

namespace batchmax::coordinator {

// What the coordinator sees of a group over its connection.
struct GroupHealth {
  uint64_t epoch = 0;
  bool connected = false;
  bool healthy = false;
  uint64_t requests_served = 0;  // in this epoch
};

class LocalGroup {
 public:
  struct Parts {
    boost::asio::any_io_executor executor;
    std::string name;
    std::vector<std::string> argv;
    std::vector<std::string> environment;
    std::function<std::optional<GroupHealth>()> health;     // empty: never seen
    std::function<void(std::string_view line)> output;      // each line that the group prints
    std::function<void(const std::string& reason)> failed;  // given up: one line that says why
    monitoring::Log log;
  };
  explicit LocalGroup(Parts parts);

  // Until stopped or given up.
  boost::asio::awaitable<void> run();

  // No further start. The process is left to end by itself; send_signal() hurries it.
  void stop();
  void send_signal(int signal);
  bool ended() const { return ended_; }

 private:
  // Starts the process and stays until it has ended and its output is read.
  boost::asio::awaitable<ExitStatus> run_once(LastWords& words);
  boost::asio::awaitable<ExitStatus> wait_for_end();
  // These two end only by being cancelled.
  boost::asio::awaitable<void> read_output(LastWords& words);
  boost::asio::awaitable<void> watch_health();
  void note_health();
  void kill_if_lost();

  Parts parts_;
  boost::asio::steady_timer restart_;
  boost::asio::steady_timer poll_;
  boost::asio::steady_timer output_read_;
  RestartPolicy policy_;
  std::unique_ptr<ChildProcess> child_;
  bool output_ended_ = false;
  RestartPolicy::Start start_;
  uint64_t epoch_before_ = 0;   // of the start before this one
  bool was_connected_ = false;  // in this start
  std::optional<std::chrono::steady_clock::time_point> lost_since_;
  bool stopping_ = false;
  bool ended_ = false;
};

}  // namespace batchmax::coordinator
