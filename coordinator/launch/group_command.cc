#include "coordinator/launch/group_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <stdexcept>

namespace batchmax::coordinator {
namespace {

// The shell's own, for a service manager that sets none. Open MPI gives up without a PATH: it looks for ssh.
constexpr const char* kUsualPath = "/usr/local/bin:/usr/bin:/bin";

}  // namespace

std::vector<std::string> command_line(const GroupCommand& command, const config::Settings& settings) {
  std::vector<std::string> words = {command.mpirun, "--quiet", "-np",
                                    std::to_string(settings.tensor_parallel_size)};
  if (!settings.hostfile.empty()) {
    words.insert(words.end(), {"--hostfile", settings.hostfile});
    // Open MPI's daemons look for each other every second: when a host is cut off, both halves end within 4 s
    // instead of never.
    for (const char* setting : {"time", "intvl"}) {
      words.insert(words.end(), {"--mca", fmt::format("oob_tcp_keepalive_{}", setting), "1"});
    }
    words.insert(words.end(), {"--mca", "oob_tcp_keepalive_probes", "2"});
  }
  if (command.as_root) words.push_back("--allow-run-as-root");
  // Ranks are threads' parents: several per core, or one on many cores, is for --threads to say.
  words.insert(words.end(), {"--oversubscribe", "--bind-to", "none"});
  words.insert(words.end(), {command.worker, "--config", command.configuration});
  return words;
}

std::vector<std::string> group_environment(const std::map<std::string, std::string>& own) {
  std::vector<std::string> lines;
  for (const auto& [name, value] : own) {
    if (!name.starts_with("BATCHMAX_")) lines.push_back(name + "=" + value);
  }
  if (!own.contains("PATH")) lines.push_back(fmt::format("PATH={}", kUsualPath));
  return lines;
}

std::string find_mpirun(const std::map<std::string, std::string>& environment) {
  const auto path = environment.find("PATH");
  std::stringstream folders(path == environment.end() ? kUsualPath : path->second);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + "/mpirun";
    if (!folder.empty() && access(file.c_str(), X_OK) == 0) return file;
  }
  throw std::runtime_error(
      "mpirun is not on the PATH: install Open MPI (Debian and Ubuntu: openmpi-bin), or start the groups "
      "yourself and "
      "give --groups 0");
}

std::string find_worker(const std::string& program) {
  const std::string file = std::filesystem::path(program).parent_path() / "batchmax-worker";
  if (access(file.c_str(), X_OK) == 0) return file;
  throw std::runtime_error(
      fmt::format("{} is not there: build or install batchmax-worker beside batchmax", file));
}

}  // namespace batchmax::coordinator
