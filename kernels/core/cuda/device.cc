#include "kernels/core/cuda/device.h"

#include <array>
#include <cctype>
#include <fstream>

#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

std::string bus_of(int device) {
  std::array<char, 32> text{};
  check(cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), device), "cudaDeviceGetPCIBusId");
  std::string bus = text.data();
  for (char& c : bus)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));  // as sysfs writes it
  return bus;
}

int numa_node_of(const std::string& bus) {
  std::ifstream file("/sys/bus/pci/devices/" + bus + "/numa_node");
  int node = -1;
  return file >> node ? node : -1;
}

}  // namespace

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // the next call shall not report it again
  return 0;
}

DeviceFacts device_facts(const Stream& stream) {
  stream_of(stream);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, stream.device()), "cudaGetDeviceProperties");
  const std::string bus = bus_of(stream.device());
  return {properties.name, bus, numa_node_of(bus)};
}

bool has_peer_access(const Stream& stream, const std::string& bus) {
  for (int other = 0; other < device_count(); ++other) {
    if (bus_of(other) != bus) continue;
    int can = 0;
    check(cudaDeviceCanAccessPeer(&can, stream.device(), other), "cudaDeviceCanAccessPeer");
    return can != 0;
  }
  return false;
}

}  // namespace batchmax::kernels::cuda
