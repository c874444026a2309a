// Starts the groups of `batchmax serve` on this machine, watches them, and ends them. Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "coordinator/launch/local_group.h"
#include "coordinator/launch/private_folder.h"
#include "monitoring/log.h"

namespace batchmax::coordinator {

class Launcher {
 public:
  struct Parts {
    boost::asio::any_io_executor executor;
    config::Settings settings;  // worker_port: where the coordinator really listens
    std::string secret;
    std::string program;  // path of the running batchmax; its worker lies beside it
    std::map<std::string, std::string> environment;
    std::function<std::optional<GroupHealth>(const std::string& group)> health;
    std::function<void(const std::string& group, std::string_view line)> output;
    std::function<void(const std::string& reason)> failed;  // a group was given up
    monitoring::Log log;
  };
  // Writes settings and secret where only this user can read them. Throws std::runtime_error where mpirun,
  // the worker or a place for temporary files is missing, or the host file is wrong.
  explicit Launcher(Parts parts);
  ~Launcher();  // kills what still runs

  void start();

  // No restarts from now on. Waits `patience` for the groups to end by themselves (the cluster has told them
  // to), then sends SIGTERM, and 5 s later SIGKILL.
  boost::asio::awaitable<void> stop(std::chrono::milliseconds patience);
  bool all_ended() const;

 private:
  boost::asio::awaitable<bool> ended_within(std::chrono::milliseconds time);

  Parts parts_;
  PrivateFolder folder_;
  std::vector<std::unique_ptr<LocalGroup>> groups_;
};

}  // namespace batchmax::coordinator
