#include "coordinator/routing/worker_group.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds kHelloLimit{5};    // from the handshake to Hello
constexpr std::chrono::seconds kGoodbyeLimit{1};  // for the last frame to leave

// Closes the connection unless the timer is destroyed before.
void close_after(asio::steady_timer& timer, std::chrono::seconds limit,
                 const std::shared_ptr<comm::Connection>& connection) {
  timer.expires_after(limit);
  timer.async_wait([connection](const boost::system::error_code& cancelled) {
    if (!cancelled) connection->close();
  });
}

}  // namespace

std::shared_ptr<WorkerGroup> WorkerGroup::serve(std::shared_ptr<comm::Connection> connection, Owner& owner,
                                                const monitoring::Clock& clock) {
  const asio::any_io_executor executor = connection->executor();
  std::shared_ptr<WorkerGroup> group(new WorkerGroup(std::move(connection), owner, clock));
  asio::co_spawn(executor, run(group), asio::detached);
  return group;
}

asio::awaitable<void> WorkerGroup::run(std::shared_ptr<WorkerGroup> self) {
  std::string why = "it broke the protocol";
  try {
    const bool joined = co_await self->greet();
    if (!joined) co_return;
    for (;;) {
      const comm::pb::Frame frame = co_await self->connection_->receive();
      if (self->owner_ == nullptr) co_return;
      self->last_heard_ = self->clock_.now();
      if (!self->owner_->receive(*self, frame)) break;
      if (self->owner_ == nullptr) co_return;
    }
  } catch (const comm::ConnectionError& error) {
    why = error.what();
  }
  self->connection_->close();
  if (self->owner_ != nullptr && self->joined_) self->owner_->lost(*self, why);
}

asio::awaitable<bool> WorkerGroup::greet() {
  asio::steady_timer timer(connection_->executor());
  close_after(timer, kHelloLimit, connection_);
  comm::pb::Frame frame = co_await connection_->receive();
  timer.cancel();
  if (owner_ == nullptr) co_return false;
  if (!frame.has_hello()) throw comm::ConnectionError(connection_->remote() + " did not begin with Hello");
  hello_ = std::move(*frame.mutable_hello());
  last_heard_ = clock_.now();
  const std::variant<GroupId, std::string> answer = owner_->join(shared_from_this());
  comm::pb::Frame welcome;
  welcome.mutable_welcome();
  if (const auto* reason = std::get_if<std::string>(&answer)) {
    welcome.mutable_welcome()->set_refused(*reason);
    owner_ = nullptr;
    asio::co_spawn(connection_->executor(), say_goodbye(connection_, std::move(welcome)), asio::detached);
    co_return false;
  }
  id_ = std::get<GroupId>(answer);
  joined_ = true;
  if (!send(welcome)) throw comm::ConnectionError(connection_->remote() + " takes no Welcome");
  owner_->joined(*this);
  co_return true;
}

asio::awaitable<void> WorkerGroup::say_goodbye(std::shared_ptr<comm::Connection> connection,
                                               comm::pb::Frame last) {
  asio::steady_timer timer(connection->executor());
  close_after(timer, kGoodbyeLimit, connection);
  if (connection->try_send(last)) co_await connection->flush();
  connection->close();
}

void WorkerGroup::drop() {
  owner_ = nullptr;
  connection_->close();
}

void WorkerGroup::drain() {
  owner_ = nullptr;
  comm::pb::Frame frame;
  frame.mutable_drain();
  asio::co_spawn(connection_->executor(), say_goodbye(connection_, std::move(frame)), asio::detached);
}

}  // namespace batchmax::coordinator
