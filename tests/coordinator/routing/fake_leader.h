// A group's leader without a group: speaks the real protocol over the real transport and answers every Submit
// with tokens that are a function of their position: all at once, or as a group would, one per step for each
// sequence. Can be told to misbehave.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/protocol/version.h"
#include "comm/transport/dial.h"
#include "config/kv_reservation.h"
#include "config/settings.h"

namespace batchmax::coordinator {

inline int32_t fake_token(uint32_t index) { return static_cast<int32_t>(100 + index); }

class FakeLeader : public std::enable_shared_from_this<FakeLeader> {
 public:
  struct Behaviour {
    std::string group = "g0";
    uint64_t epoch = 1;
    uint32_t capacity_pages = 16;
    uint32_t max_num_seqs = 8;
    std::chrono::nanoseconds step{0};  // 0: all tokens at once
    std::function<void(const comm::pb::Submit&)> on_submit;
    std::string secret = "secret";
    std::string digest;              // empty: the right one
    uint32_t tokens_at_most = 1000;  // of one request, then it hangs
    int stop_after = -1;             // tokens before it draws a stop id
    bool heartbeats = true;
    std::chrono::milliseconds heartbeat_interval{50};
    bool answers_ping = true;
    bool repeats_a_token = false;
    uint32_t add_to_ids = 0;  // for ids outside of the vocabulary
    uint64_t round_trip_age_ms = 0;
  };
  FakeLeader(uint16_t port, Behaviour behaviour) : port_(port), behaviour_(std::move(behaviour)) {}

  static std::shared_ptr<FakeLeader> start(const boost::asio::any_io_executor& executor, uint16_t port,
                                           Behaviour behaviour) {
    auto leader = std::make_shared<FakeLeader>(port, std::move(behaviour));
    boost::asio::co_spawn(executor, run(leader), boost::asio::detached);
    return leader;
  }

  void die() {
    dead_ = true;
    if (connection_) connection_->close();
  }

  // What it has seen.
  std::vector<comm::pb::Submit> submits;  // without steps only
  std::vector<uint64_t> cancels;
  bool welcome = false;
  bool drained = false;
  bool ended = false;
  std::string refused;
  std::string failure;

 private:
  static boost::asio::awaitable<void> run(std::shared_ptr<FakeLeader> self) {
    try {
      comm::DialOptions options;
      self->connection_ = co_await comm::dial("127.0.0.1", self->port_, self->behaviour_.secret, options,
                                              monitoring::Log::silent());
      co_await self->converse();
    } catch (const std::exception& error) {
      self->failure = error.what();
    }
    self->ended = true;
  }

  boost::asio::awaitable<void> converse() {
    comm::pb::Frame first;
    fill_hello(*first.mutable_hello());
    co_await connection_->send(first);
    const comm::pb::Frame answer = co_await connection_->receive();
    refused = answer.welcome().refused();
    welcome = answer.has_welcome() && refused.empty();
    if (!welcome) co_return;
    if (behaviour_.heartbeats) {
      boost::asio::co_spawn(connection_->executor(), beat(shared_from_this()), boost::asio::detached);
    }
    if (behaviour_.step.count() > 0) {
      boost::asio::co_spawn(connection_->executor(), step(shared_from_this()), boost::asio::detached);
    }
    for (;;) {
      const comm::pb::Frame frame = co_await connection_->receive();
      if (frame.has_submit()) answer_submit(frame.submit());
      if (frame.has_cancel()) answer_cancel(frame.cancel().request());
      if (frame.has_ping() && behaviour_.answers_ping) {
        comm::pb::Frame pong;
        pong.mutable_pong()->set_id(frame.ping().id());
        connection_->try_send(pong);
      }
      if (frame.has_drain()) drained = true;
    }
  }

  static boost::asio::awaitable<void> beat(std::shared_ptr<FakeLeader> self) {
    boost::asio::steady_timer timer(self->connection_->executor());
    while (!self->dead_ && self->connection_->open()) {
      comm::pb::Frame frame;
      frame.mutable_heartbeat()->set_round_trip_age_ms(self->behaviour_.round_trip_age_ms);
      self->connection_->try_send(frame);
      comm::pb::Frame load;
      load.mutable_load()->set_pages_free(self->behaviour_.capacity_pages);
      load.mutable_load()->set_prompt_tokens_total(1234);
      self->connection_->try_send(load);
      timer.expires_after(self->behaviour_.heartbeat_interval);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
  }

  void fill_hello(comm::pb::Hello& hello) const {
    hello.set_protocol(comm::kProtocolVersion);
    hello.set_group(behaviour_.group);
    hello.set_epoch(behaviour_.epoch);
    hello.set_capacity_pages(behaviour_.capacity_pages);
    hello.set_page_slots(config::kPageSlots);
    hello.set_max_model_len(4096);
    hello.set_vocab_size(32000);
    hello.add_eos_ids(2);
    hello.set_max_num_seqs(behaviour_.max_num_seqs);
    hello.set_config_digest(behaviour_.digest.empty() ? config::shared_digest(config::Settings{})
                                                      : behaviour_.digest);
  }

  // One token of every sequence per step, in time whatever a step takes.
  static boost::asio::awaitable<void> step(std::shared_ptr<FakeLeader> self) {
    boost::asio::steady_timer timer(self->connection_->executor(), std::chrono::steady_clock::now());
    while (!self->dead_ && self->connection_->open()) {
      timer.expires_at(timer.expiry() + self->behaviour_.step);
      co_await timer.async_wait(boost::asio::use_awaitable);
      for (auto at = self->running_.begin(); at != self->running_.end();) {
        Running& sequence = at->second;
        self->send_token(sequence.submit, sequence.index++);
        if (sequence.index < sequence.submit.max_tokens()) {
          ++at;
          continue;
        }
        self->finish(sequence.submit, comm::pb::FINISH_LENGTH, sequence.index);
        at = self->running_.erase(at);
      }
    }
  }

  void answer_submit(const comm::pb::Submit& submit) {
    if (behaviour_.on_submit) behaviour_.on_submit(submit);
    uint32_t index = static_cast<uint32_t>(submit.tokens_size()) - submit.prompt_length();
    if (behaviour_.step.count() > 0) {
      running_[submit.request()] = {submit, index};
      return;
    }
    submits.push_back(submit);
    uint32_t sent = 0;
    while (index < submit.max_tokens()) {
      if (behaviour_.stop_after >= 0 && index == static_cast<uint32_t>(behaviour_.stop_after)) {
        return finish(submit, comm::pb::FINISH_STOP, index + 1);
      }
      if (sent == behaviour_.tokens_at_most) return;  // hangs
      send_token(submit, index);
      if (behaviour_.repeats_a_token) send_token(submit, index);
      ++index;
      ++sent;
    }
    finish(submit, comm::pb::FINISH_LENGTH, index);
  }

  void answer_cancel(uint64_t request) {
    cancels.push_back(request);
    if (const auto found = running_.find(request); found != running_.end()) {
      finish(found->second.submit, comm::pb::FINISH_CANCELLED, found->second.index);
      running_.erase(found);
    }
    for (const comm::pb::Submit& submit : submits) {
      if (submit.request() == request) finish(submit, comm::pb::FINISH_CANCELLED, 0);
    }
  }

  void send_token(const comm::pb::Submit& submit, uint32_t index) {
    comm::pb::Frame frame;
    frame.mutable_tokens()->set_request(submit.request());
    frame.mutable_tokens()->set_attempt(submit.attempt());
    frame.mutable_tokens()->set_index(index);
    frame.mutable_tokens()->add_ids(static_cast<uint32_t>(fake_token(index)) + behaviour_.add_to_ids);
    connection_->try_send(frame);
  }

  void finish(const comm::pb::Submit& submit, comm::pb::FinishReason reason, uint32_t output_tokens) {
    comm::pb::Frame frame;
    comm::pb::Finished& finished = *frame.mutable_finished();
    finished.set_request(submit.request());
    finished.set_attempt(submit.attempt());
    finished.set_reason(reason);
    finished.set_output_tokens(output_tokens);
    finished.set_kv_bytes_held(4321);
    connection_->try_send(frame);
  }

  const uint16_t port_;
  const Behaviour behaviour_;
  struct Running {
    comm::pb::Submit submit;
    uint32_t index;
  };
  std::map<uint64_t, Running> running_;  // by request; with steps only
  std::shared_ptr<comm::Connection> connection_;
  bool dead_ = false;
};

}  // namespace batchmax::coordinator
