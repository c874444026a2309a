#include "comm/group/backoff.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace batchmax::comm {
namespace {

constexpr std::chrono::microseconds kShortestSleep{20};
constexpr int kSleepShare = 8;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

void Backoff::pause() {
  const auto waited =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin_);
  if (waited < policy_.spin) {
    relax();
  } else if (waited < policy_.hot) {
    ::sched_yield();
  } else {
    std::this_thread::sleep_for(std::clamp(waited / kSleepShare, kShortestSleep, policy_.longest_sleep));
  }
}

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace batchmax::comm
