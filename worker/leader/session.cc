#include "worker/leader/session.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <filesystem>
#include <utility>

#include "comm/protocol/version.h"
#include "comm/transport/handshake.h"
#include "config/kv_reservation.h"
#include "monitoring/check.h"
#include "worker/leader/group_messages.h"
#include "worker/leader/submit_check.h"

namespace batchmax::worker {
namespace {

namespace asio = boost::asio;

constexpr int kBeatsPerIdleLoad = 4;
constexpr std::chrono::seconds kWelcomeLimit{5};

asio::awaitable<void> wait(asio::steady_timer& timer) {
  boost::system::error_code cancelled;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
}

comm::pb::Frame hello_of(const Session::Parts& parts) {
  comm::pb::Frame frame;
  comm::pb::Hello& hello = *frame.mutable_hello();
  const ReplicaFacts& facts = parts.facts;
  const auto ranks = static_cast<uint32_t>(parts.settings.tensor_parallel_size);
  hello.set_protocol(comm::kProtocolVersion);
  hello.set_group(parts.group);
  hello.set_epoch(parts.epoch);
  hello.set_model(std::filesystem::path(parts.settings.model).filename().string());
  hello.set_tensor_parallel(ranks);
  hello.set_capacity_pages(static_cast<uint32_t>(facts.capacity_pages));
  hello.set_page_slots(config::kPageSlots);
  hello.set_max_model_len(static_cast<uint32_t>(facts.max_model_len));
  hello.set_vocab_size(static_cast<uint32_t>(facts.vocab_size));
  for (const int32_t id : facts.eos_ids) hello.add_eos_ids(static_cast<uint32_t>(id));
  hello.set_max_num_seqs(static_cast<uint32_t>(facts.max_sequences));
  hello.set_kv_bytes_per_slot(facts.kv_bytes_per_slot);
  hello.set_config_digest(config::shared_digest(parts.settings));
  hello.set_weight_bytes(facts.weight_bytes);
  hello.set_kv_bytes(facts.kv_bytes);
  hello.set_least_ranks_kv_heads(static_cast<uint32_t>(facts.kv_heads) / ranks);
  hello.set_workspace_bytes(facts.workspace_bytes);
  hello.set_free_bytes(facts.free_bytes);
  return frame;
}

}  // namespace

Session::Session(Parts parts)
    : parts_(std::move(parts)),
      answers_(loop_, asio::steady_timer::time_point::max()),
      changed_(loop_, asio::steady_timer::time_point::max()),
      beat_(loop_) {
  parts_.outbox.on_wake([this] { asio::post(loop_, [this] { answers_.cancel(); }); });
}

SessionResult Session::run() {
  asio::co_spawn(loop_, pump_answers(), asio::detached);
  asio::co_spawn(loop_, report(), asio::detached);
  asio::co_spawn(loop_, live(), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);  // out of run(): nobody else would hear of it
  });
  loop_.run();
  return result_;
}

asio::awaitable<void> Session::live() {
  while (!draining_) {
    Connection connection;
    try {
      connection =
          co_await comm::dial(parts_.settings.worker_host, static_cast<uint16_t>(parts_.settings.worker_port),
                              parts_.secret, parts_.dial, parts_.log);
    } catch (const comm::HandshakeError& error) {
      result_ = {SessionEnd::refused, error.what()};
      break;
    } catch (const std::runtime_error& error) {
      result_ = {SessionEnd::lost, error.what()};
      break;
    }
    const Parting parting = co_await converse(connection);
    connection->close();
    connection_.reset();
    if (parting.refused) {
      result_ = {SessionEnd::refused, parting.reason};
      break;
    }
    if (draining_) break;
    parts_.log.warning("coordinator lost, dialling again", {{"reason", parting.reason}});
    co_await cancel_everything();
  }
  if (draining_) result_ = {SessionEnd::drained, ""};
  co_await stop_everything();
  beat_.cancel();
  answers_.cancel();
}

// Until the connection ends.
asio::awaitable<Session::Parting> Session::converse(const Connection& connection) {
  try {
    const std::string refused = co_await greet(connection);
    if (!refused.empty()) co_return Parting{true, "the coordinator refuses this group: " + refused};
    connection_ = connection;
    connection->try_send(
        to_load(parts_.board.read(), parts_.facts.kv_bytes_per_slot));  // known before it is healthy
    parts_.log.info("joined", {{"coordinator", connection->remote()}, {"group", parts_.group}});
    while (take(co_await connection->receive())) {
    }
    co_return Parting{false, "it sent what no coordinator sends"};
  } catch (const comm::ConnectionError& error) {
    co_return Parting{false, error.what()};
  }
}

// Why the coordinator refuses; empty: welcome.
asio::awaitable<std::string> Session::greet(const Connection& connection) {
  co_await connection->send(hello_of(parts_));
  asio::steady_timer limit(loop_, kWelcomeLimit);
  limit.async_wait([connection](const boost::system::error_code& cancelled) {
    if (!cancelled) connection->close();
  });
  const comm::pb::Frame frame = co_await connection->receive();
  limit.cancel();
  if (!frame.has_welcome()) throw comm::ConnectionError(connection->remote() + " did not answer Hello");
  co_return frame.welcome().refused();
}

// False: the coordinator broke the protocol.
bool Session::take(const comm::pb::Frame& frame) {
  switch (frame.body_case()) {
    case comm::pb::Frame::kSubmit:
      return submit(frame.submit());
    case comm::pb::Frame::kCancel:
      return put(CancelSequence{frame.cancel().request()});
    case comm::pb::Frame::kPing:
      return put(RoundTrip{frame.ping().id()});
    case comm::pb::Frame::kDrain:
      draining_ = true;
      return put(Stop{false});
    default:
      return false;
  }
}

bool Session::submit(const comm::pb::Submit& submit) {
  auto checked = check_submit(
      submit, {parts_.settings.compression, parts_.facts.max_model_len, parts_.facts.vocab_size});
  if (auto* request = std::get_if<SequenceRequest>(&checked)) return put(std::move(*request));
  const std::string& why = std::get<std::string>(checked);
  parts_.log.warning("request refused", {{"request", submit.request()}, {"reason", why}});
  SequenceEnded ended;
  ended.request = submit.request();
  ended.attempt = submit.attempt();
  ended.error = why;
  return connection_->try_send(to_frame(ended, parts_.facts.kv_bytes_per_slot));
}

// False: more events than a coordinator that keeps its ledger can have caused.
bool Session::put(InboxEvent event) { return parts_.inbox.try_push(event); }

asio::awaitable<void> Session::cancel_everything() {
  all_cancelled_ = false;
  parts_.inbox.push(CancelAll{});
  while (!all_cancelled_ && !stopped_) co_await wait(changed_);
}

asio::awaitable<void> Session::stop_everything() {
  parts_.inbox.push(Stop{true});  // the coordinator is gone: nobody waits for what runs
  while (!stopped_) co_await wait(changed_);
}

asio::awaitable<void> Session::pump_answers() {
  while (!stopped_) {
    const std::deque<OutboxEvent> events = parts_.outbox.drain();
    if (events.empty()) co_await wait(answers_);
    for (const OutboxEvent& event : events) co_await answer(event);
  }
}

asio::awaitable<void> Session::answer(const OutboxEvent& event) {
  if (const auto* made = std::get_if<TokenMade>(&event)) {
    co_await send(to_frame(*made));
  } else if (const auto* scored = std::get_if<PromptScored>(&event)) {
    co_await send(to_frame(*scored));
  } else if (const auto* released = std::get_if<PagesReleased>(&event)) {
    co_await send(to_frame(*released));
  } else if (const auto* ended = std::get_if<SequenceEnded>(&event)) {
    co_await send(to_frame(*ended, parts_.facts.kv_bytes_per_slot));
  } else if (const auto* done = std::get_if<RoundTripDone>(&event)) {
    comm::pb::Frame frame;
    frame.mutable_pong()->set_id(done->id);
    co_await send(std::move(frame));
  } else {
    if (std::holds_alternative<AllCancelled>(event)) all_cancelled_ = true;
    if (std::holds_alternative<Stopped>(event)) {
      stopped_ = true;
      if (const Connection connection =
              connection_) {  // drained: the last answers leave, then nothing more is said
        co_await connection->flush();
        connection->close();
      }
    }
    changed_.cancel();
  }
}

// Nobody to send to: the frame is dropped, its request has been cancelled or given away.
asio::awaitable<void> Session::send(comm::pb::Frame frame) {
  const Connection connection = connection_;
  if (!connection || connection->try_send(frame)) co_return;
  try {
    co_await connection->send(std::move(frame));
  } catch (const comm::ConnectionError&) {
    // converse() hears of it too.
  }
}

asio::awaitable<void> Session::report() {
  for (int beats = 0; !stopped_; ++beats) {
    if (connection_) {
      const GroupReport report = parts_.board.read();
      const auto age =
          std::chrono::duration_cast<std::chrono::milliseconds>(parts_.clock.now() - report.last_round_trip);
      comm::pb::Frame frame;
      frame.mutable_heartbeat()->set_tick(report.tick);
      frame.mutable_heartbeat()->set_round_trip_age_ms(
          static_cast<uint64_t>(std::max<int64_t>(0, age.count())));
      connection_->try_send(frame);  // a full queue says the same: it is not read
      if (report.figures.sequences_running > 0 || beats % kBeatsPerIdleLoad == 0) {
        connection_->try_send(to_load(report, parts_.facts.kv_bytes_per_slot));
      }
    }
    beat_.expires_after(comm::kHeartbeatInterval);
    co_await wait(beat_);
  }
}

}  // namespace batchmax::worker
