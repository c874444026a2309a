#include "worker/watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace batchmax::worker {
namespace {

using monitoring::Duration;
using monitoring::Progress;
using monitoring::TimePoint;

constexpr std::chrono::milliseconds kLook{50};
// A watchdog that comes so late was stopped, or starved as the step thread was.
constexpr Duration kLate = 4 * kLook;
constexpr std::chrono::seconds kStarting{60};
constexpr std::chrono::seconds kRunning{2};
constexpr int kTimesUsual = 10;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

std::optional<std::string> too_silent(const Progress::Reading& reading, TimePoint now,
                                      TimePoint awake_since) {
  if (reading.pace == Progress::Pace::any) return std::nullopt;
  const Duration limit = reading.pace == Progress::Pace::starting
                             ? Duration(kStarting)
                             : std::max<Duration>(kRunning, kTimesUsual * reading.usual_longest);
  const Duration silence = now - std::max(reading.last, awake_since);
  if (silence <= limit) return std::nullopt;
  return fmt::format("no progress for {:.1f} s (limit {:.1f} s): this rank hangs, or another was stopped",
                     seconds(silence), seconds(limit));
}

Watchdog::Watchdog(const Progress& progress, const monitoring::Clock& clock,
                   std::function<void(const std::string& reason)> end)
    : progress_(progress), clock_(clock), end_(std::move(end)), thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void Watchdog::watch() {
  TimePoint awake_since = clock_.now();
  TimePoint last_look = awake_since;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, kLook, [this] { return stop_; })) {
    const Progress::Reading reading = progress_.read();
    const TimePoint now = clock_.now();
    if (now - last_look > kLate) awake_since = now;
    last_look = now;
    if (const auto reason = too_silent(reading, now, awake_since)) return end_(*reason);
  }
}

void end_process(int rank, const std::string& reason) {
  const std::string line = fmt::format("batchmax-worker: rank {}: {}\n", rank, reason);
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  _exit(kStoodStill);
}

}  // namespace batchmax::worker
