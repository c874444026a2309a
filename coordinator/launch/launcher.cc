#include "coordinator/launch/launcher.h"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "config/load.h"
#include "coordinator/launch/group_command.h"
#include "coordinator/launch/host_file.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;

std::string temporary_folder(const std::map<std::string, std::string>& environment) {
  const auto found = environment.find("TMPDIR");
  return found == environment.end() || found->second.empty() ? "/tmp" : found->second;
}

}  // namespace

Launcher::Launcher(Parts parts) : parts_(std::move(parts)), folder_(temporary_folder(parts_.environment)) {
  if (!parts_.settings.hostfile.empty()) check_host_file(parts_.settings.hostfile);
  GroupCommand command;
  command.mpirun = find_mpirun(parts_.environment);
  command.worker = find_worker(parts_.program);
  command.as_root = geteuid() == 0;
  config::Settings settings = parts_.settings;
  settings.secret_file = folder_.write("secret", parts_.secret);
  for (int32_t i = 0; i < settings.groups; ++i) {
    settings.group_name = "g" + std::to_string(i);
    // Each group of this machine has GPUs of its own, as far as there are enough.
    settings.first_gpu = parts_.settings.first_gpu + i * settings.tensor_parallel_size;
    command.configuration = folder_.write(settings.group_name + ".yaml", config::to_yaml(settings));
    LocalGroup::Parts group{
        parts_.executor,
        settings.group_name,
        command_line(command, settings),
        group_environment(parts_.environment),
        [this, name = settings.group_name] { return parts_.health(name); },
        [this, name = settings.group_name](std::string_view line) { parts_.output(name, line); },
        parts_.failed,
        parts_.log};
    groups_.push_back(std::make_unique<LocalGroup>(std::move(group)));
  }
}

Launcher::~Launcher() = default;

void Launcher::start() {
  for (auto& group : groups_) asio::co_spawn(parts_.executor, group->run(), asio::detached);
}

bool Launcher::all_ended() const {
  for (const auto& group : groups_) {
    if (!group->ended()) return false;
  }
  return true;
}

asio::awaitable<bool> Launcher::ended_within(std::chrono::milliseconds time) {
  asio::steady_timer timer(parts_.executor);
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (!all_ended() && std::chrono::steady_clock::now() < deadline) {
    timer.expires_after(std::chrono::milliseconds(10));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  co_return all_ended();
}

asio::awaitable<void> Launcher::stop(std::chrono::milliseconds patience) {
  for (auto& group : groups_) group->stop();
  bool ended = co_await ended_within(patience);
  if (ended) co_return;
  for (auto& group : groups_) group->send_signal(SIGTERM);
  ended = co_await ended_within(std::chrono::seconds(5));
  if (ended) co_return;
  parts_.log.warning("groups do not end, killing them");
  for (auto& group : groups_) group->send_signal(SIGKILL);
  co_await ended_within(std::chrono::seconds(5));
}

}  // namespace batchmax::coordinator
