#include "comm/group/device_placement.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "kernels/core/device.h"
#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}
std::string text_of(const std::vector<std::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// One line per rank, three fields that hold no tab.
std::string line_of(const DevicePlace& place) {
  return place.machine + "\t" + place.bus + "\t" + place.host_id;
}
DevicePlace place_of(const std::string& line) {
  std::istringstream fields(line);
  DevicePlace place;
  std::getline(fields, place.machine, '\t');
  std::getline(fields, place.bus, '\t');
  std::getline(fields, place.host_id, '\t');
  return place;
}

DevicePlace own_place(const kernels::Stream& stream) {
  DevicePlace place;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> place.machine;
  place.bus = kernels::device_facts(stream).bus;
  if (const char* id = std::getenv("NCCL_HOSTID")) place.host_id = id;
  return place;
}

bool same_device(const DevicePlace& a, const DevicePlace& b) {
  return a.machine == b.machine && a.bus == b.bus;
}

}  // namespace

std::string placement_fault(const std::vector<DevicePlace>& places) {
  for (size_t b = 1; b < places.size(); ++b) {
    for (size_t a = 0; a < b; ++a) {
      if (!same_device(places[a], places[b]) || places[a].host_id != places[b].host_id) continue;
      return "ranks " + std::to_string(a) + " and " + std::to_string(b) + " of this group share the GPU at " +
             places[a].bus +
             ", which NCCL refuses: start at most one rank per GPU (lower --tensor-parallel-size or "
             "--groups), or, "
             "for tests, give every rank an NCCL_HOSTID of its own and set NCCL_SOCKET_IFNAME=lo";
    }
  }
  return "";
}

DevicePlacement agree_on_devices(ControlGroup& control, const kernels::Stream& stream) {
  const DevicePlace own = own_place(stream);
  std::string all;
  for (const auto& line : control.gather(bytes_of(line_of(own)))) all += text_of(line) + "\n";
  std::istringstream lines(text_of(control.broadcast(bytes_of(all))));
  DevicePlacement placement;
  for (std::string line; std::getline(lines, line);) placement.places.push_back(place_of(line));
  CHECK_EQ(placement.places.size(), static_cast<size_t>(control.size()));
  if (const std::string fault = placement_fault(placement.places); !fault.empty())
    throw std::runtime_error(fault);
  placement.sharers =
      static_cast<int>(std::count_if(placement.places.begin(), placement.places.end(),
                                     [&](const DevicePlace& place) { return same_device(place, own); }));
  return placement;
}

}  // namespace batchmax::comm
