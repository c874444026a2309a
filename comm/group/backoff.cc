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

std::chrono::microseconds Backoff::next() {
  const auto waited =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin_);
  if (waited >= policy_.hot) return std::clamp(waited / kSleepShare, kShortestSleep, policy_.longest_sleep);
  if (waited < policy_.spin) {
    relax();
  } else {
    ::sched_yield();
  }
  return std::chrono::microseconds(0);
}

void Backoff::pause() {
  const std::chrono::microseconds sleep = next();
  if (sleep.count() > 0) std::this_thread::sleep_for(sleep);
}

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace batchmax::comm
