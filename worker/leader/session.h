// The I/O side of a group's leader: the one connection to the coordinator. Dials, proves the secret, says
// Hello, turns frames into inbox events and outbox events into frames, and reports load and health. Decides
// nothing. While the coordinator is gone nobody waits for answers: what runs is cancelled, and the session
// dials again.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>

#include "comm/transport/dial.h"
#include "config/settings.h"
#include "monitoring/clock.h"
#include "monitoring/log.h"
#include "worker/leader/leader_loop.h"

namespace batchmax::worker {

enum class SessionEnd : uint8_t {
  drained,  // the coordinator wants no more of this group
  refused,  // the secret or the settings do not match: the same start will fail again
  lost,     // the coordinator does not answer any more
};
struct SessionResult {
  SessionEnd end = SessionEnd::lost;
  std::string reason;  // for the operator; empty when drained
};

class Session {
 public:
  struct Parts {
    const config::Settings& settings;
    const ReplicaFacts& facts;
    std::string group;  // its name
    uint64_t epoch;     // grows with every start of the group
    std::string secret;
    Inbox& inbox;  // room for two events of every sequence that can run
    Outbox& outbox;
    const GroupReportBoard& board;
    const monitoring::Clock& clock;
    monitoring::Log log;
    comm::DialOptions dial;
  };

  // On any thread, before the step thread starts: takes the outbox's wake-up call. Everything that `parts`
  // refers to outlives the session, and the session outlives the step thread.
  explicit Session(Parts parts);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // On the I/O thread. Returns when the step thread has stopped.
  SessionResult run();

 private:
  using Connection = std::shared_ptr<comm::Connection>;
  struct Parting {
    bool refused;
    std::string reason;
  };

  boost::asio::awaitable<void> live();
  boost::asio::awaitable<Parting> converse(const Connection& connection);
  boost::asio::awaitable<std::string> greet(const Connection& connection);
  bool take(const comm::pb::Frame& frame);
  bool submit(const comm::pb::Submit& submit);
  bool put(InboxEvent event);
  boost::asio::awaitable<void> cancel_everything();
  boost::asio::awaitable<void> stop_everything();
  boost::asio::awaitable<void> pump_answers();
  boost::asio::awaitable<void> answer(const OutboxEvent& event);
  boost::asio::awaitable<void> send(comm::pb::Frame frame);
  boost::asio::awaitable<void> report();

  Parts parts_;
  boost::asio::io_context loop_{1};
  boost::asio::steady_timer answers_;  // never expires: cancelled when the outbox has something
  boost::asio::steady_timer changed_;  // never expires: cancelled when all_cancelled_ or stopped_ changes
  boost::asio::steady_timer beat_;
  Connection connection_;  // welcomed; null while there is none
  bool draining_ = false;
  bool all_cancelled_ = false;
  bool stopped_ = false;
  SessionResult result_;
};

}  // namespace batchmax::worker
