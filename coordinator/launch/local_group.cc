#include "coordinator/launch/local_group.h"

#include <fmt/format.h>
#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
using boost::asio::experimental::awaitable_operators::operator||;

// The worker's exit status for "the same start will fail again": a bad flag, a model that cannot be loaded.
constexpr int kCannotSucceed = 2;
constexpr std::chrono::milliseconds kPoll{200};
// Time for a group whose connection broke to dial again, or to end by itself.
constexpr std::chrono::milliseconds kLost{1500};
// What a process that outlives mpirun may still hold the output open; then it is not waited for any longer.
constexpr std::chrono::seconds kOutputGrace{5};

}  // namespace

LocalGroup::LocalGroup(Parts parts)
    : parts_(std::move(parts)),
      restart_(parts_.executor),
      poll_(parts_.executor),
      output_read_(parts_.executor) {}

void LocalGroup::stop() {
  stopping_ = true;
  restart_.cancel();
}

void LocalGroup::send_signal(int signal) {
  if (child_) child_->send_signal(signal);
}

asio::awaitable<void> LocalGroup::run() {
  while (!stopping_) {
    start_ = {};
    was_connected_ = false;
    lost_since_.reset();
    if (const auto seen = parts_.health()) epoch_before_ = seen->epoch;
    LastWords words;
    ExitStatus status;
    std::string why;
    try {
      status = co_await run_once(words);
    } catch (const std::runtime_error& error) {
      why = error.what();
      start_.cannot_succeed = true;
    }
    if (stopping_) break;
    if (why.empty()) {
      start_.cannot_succeed = status.code == kCannotSucceed;
      why = words.reason();
      if (why.empty()) why = describe(status);
    }
    const auto wait = policy_.after_exit(start_);
    if (!wait) {
      parts_.failed(fmt::format("group {} cannot be started: {}", parts_.name, why));
      break;
    }
    parts_.log.warning(
        "group ended, starting it again",
        {{"group", parts_.name}, {"status", describe(status)}, {"reason", why}, {"wait_s", wait->count()}});
    restart_.expires_after(*wait);
    co_await restart_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  ended_ = true;
}

asio::awaitable<ExitStatus> LocalGroup::run_once(LastWords& words) {
  child_ = std::make_unique<ChildProcess>(parts_.executor, parts_.argv, parts_.environment);
  parts_.log.info("group started", {{"group", parts_.name}, {"pid", child_->pid()}});
  output_ended_ = false;
  output_read_.expires_at(std::chrono::steady_clock::time_point::max());
  const auto outcome = co_await (wait_for_end() || read_output(words) || watch_health());
  const ExitStatus status = std::get<0>(outcome);
  note_health();
  child_.reset();
  co_return status;
}

asio::awaitable<ExitStatus> LocalGroup::wait_for_end() {
  const ExitStatus status = co_await child_->wait();
  if (!output_ended_) {
    output_read_.expires_after(kOutputGrace);
    co_await output_read_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  co_return status;
}

asio::awaitable<void> LocalGroup::read_output(LastWords& words) {
  for (;;) {
    const auto line = co_await child_->read_line();
    if (!line) break;
    words.add(*line);
    parts_.output(*line);
  }
  output_ended_ = true;
  output_read_.cancel();
  asio::steady_timer forever(parts_.executor, std::chrono::steady_clock::time_point::max());
  co_await forever.async_wait(asio::as_tuple(asio::use_awaitable));
}

asio::awaitable<void> LocalGroup::watch_health() {
  for (;;) {
    note_health();
    kill_if_lost();
    poll_.expires_after(kPoll);
    co_await poll_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void LocalGroup::note_health() {
  const auto seen = parts_.health();
  if (!seen || seen->epoch == epoch_before_) return;
  start_.was_healthy = start_.was_healthy || seen->healthy;
  start_.served_request = start_.served_request || seen->requests_served > 0;
  was_connected_ = was_connected_ || seen->connected;
  if (seen->connected || !was_connected_) {
    lost_since_.reset();
  } else if (!lost_since_) {
    lost_since_ = std::chrono::steady_clock::now();
  }
}

// A stopped process ends by nothing else, and mpirun does not see it.
void LocalGroup::kill_if_lost() {
  if (stopping_ || !lost_since_ || std::chrono::steady_clock::now() - *lost_since_ < kLost) return;
  parts_.log.warning("group lost, killing it", {{"group", parts_.name}, {"pid", child_->pid()}});
  child_->send_signal(SIGKILL);
  lost_since_.reset();
  was_connected_ = false;
}

}  // namespace batchmax::coordinator
