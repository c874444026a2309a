#include "kernels/core/threads.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

#include "kernels/core/cpu/team.h"

namespace batchmax::kernels {
namespace {

// A list of the kernel: "0-15,32-47".
cpu_set_t parse_cores(const std::string& list) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    int first = 0;
    const auto number = std::from_chars(at, end, first);
    if (number.ec != std::errc()) break;
    int last = first;
    at = number.ptr;
    if (at < end && *at == '-') at = std::from_chars(at + 1, end, last).ptr;
    for (int core = first; core <= std::min(last, CPU_SETSIZE - 1); ++core) CPU_SET(core, &cores);
    if (at < end && *at == ',') ++at;
  }
  return cores;
}

}  // namespace

void use_cpu_threads([[maybe_unused]] int threads) {
#ifdef _OPENMP
  omp_set_num_threads(std::max(1, threads));
#endif
}

int available_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  return std::max(1, CPU_COUNT(&cores));
}

bool bind_to_numa_node(int node) {
  std::ifstream file("/sys/devices/system/node/node" + std::to_string(node) + "/cpulist");
  std::string list;
  if (!std::getline(file, list)) return false;
  const cpu_set_t there = parse_cores(list);
  cpu_set_t mine;
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof mine, &mine) != 0) return false;
  CPU_AND(&mine, &mine, &there);
  return CPU_COUNT(&mine) > 0 && sched_setaffinity(0, sizeof mine, &mine) == 0;
}

}  // namespace batchmax::kernels
