#include "comm/group/nccl_transport.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "kernels/core/device.h"

namespace batchmax::comm {

TransportWatch::TransportWatch() {
  ::setenv("NCCL_RUNTIME_CONNECT", "0", 0);
  if (std::getenv("NCCL_DEBUG") != nullptr || std::getenv("NCCL_DEBUG_FILE") != nullptr) return;
  std::error_code none;
  path_ = (std::filesystem::temp_directory_path(none) / ("batchmax-nccl-XXXXXX")).string();
  const int file = ::mkstemp(path_.data());
  if (file < 0) {
    path_.clear();
    return;
  }
  ::close(file);
  ::setenv("NCCL_DEBUG", "INFO", 0);
  ::setenv("NCCL_DEBUG_SUBSYS", "INIT,P2P,SHM,NET", 0);
  ::setenv("NCCL_DEBUG_FILE", path_.c_str(), 0);
}

// NCCL has the file open as long as the process lives; without a name it ends with it.
TransportWatch::~TransportWatch() {
  if (path_.empty()) return;
  std::error_code none;
  std::filesystem::remove(path_, none);
}

std::string TransportWatch::seen() const {
  if (path_.empty()) return "";
  std::ifstream file(path_);
  return transports_in(std::string(std::istreambuf_iterator<char>(file), {}));
}

std::string transports_in(const std::string& log) {
  std::set<std::string> found;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    constexpr std::string_view kVia = " via ";
    const size_t at = line.find(kVia);
    if (at == std::string::npos || line.find("Channel ") == std::string::npos) continue;
    // "P2P/CUMEM/read", "SHM/direct/direct", "NET/Socket/0": the first two words
    const std::string path = line.substr(at + kVia.size());
    const size_t second = path.find('/');
    found.insert(path.substr(0, path.find_first_of("/ \n", second == std::string::npos ? 0 : second + 1)));
  }
  std::string joined;
  for (const std::string& one : found) joined += (joined.empty() ? "" : ", ") + one;
  return joined;
}

std::string describe_nccl(int version, const DevicePlacement& placement, const kernels::Stream& stream,
                          const std::string& transport) {
  const std::string own = kernels::device_facts(stream).bus;
  size_t peers = 0;
  size_t others = 0;
  for (const DevicePlace& place : placement.places) {
    if (place.bus == own) continue;
    ++others;
    if (kernels::has_peer_access(stream, place.bus)) ++peers;
  }
  std::string text = "NCCL " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
                     "." + std::to_string(version % 100) + ", " + std::to_string(placement.places.size()) +
                     " ranks, ";
  if (others == 0) {
    text += "all on one GPU";
  } else if (peers == others) {
    text += "peer access to all other GPUs";
  } else {
    text += "peer access to " + std::to_string(peers) + " of " + std::to_string(others) + " other GPUs";
  }
  return text + ", transport " + (transport.empty() ? "unknown (see NCCL_DEBUG=INFO)" : transport);
}

}  // namespace batchmax::comm
