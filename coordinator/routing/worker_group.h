// One group as the coordinator is connected to it: reads what its leader says and tells the Owner, sends what
// the coordinator wants, and notices when it falls silent. Decides nothing. Event loop only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <variant>

#include "comm/transport/connection.h"
#include "coordinator/routing/router.h"
#include "monitoring/clock.h"

namespace batchmax::coordinator {

class WorkerGroup : public std::enable_shared_from_this<WorkerGroup> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // The group's number, or why it is refused.
    virtual std::variant<GroupId, std::string> join(const std::shared_ptr<WorkerGroup>& group) = 0;
    // It has joined and been told so: Submits may be sent from now on.
    virtual void joined(WorkerGroup& group) = 0;
    // Of a group that has joined. False: the frame cannot be, the group is to be dropped.
    virtual bool receive(WorkerGroup& group, const comm::pb::Frame& frame) = 0;
    // Of a group that has joined, unless the owner dropped it: the last call.
    virtual void lost(WorkerGroup& group, const std::string& why) = 0;
  };

  // Serves one connection from Hello to its end. `owner` and `clock` are used until drop().
  static std::shared_ptr<WorkerGroup> serve(std::shared_ptr<comm::Connection> connection, Owner& owner,
                                            const monitoring::Clock& clock);

  const comm::pb::Hello& hello() const { return hello_; }
  const std::string& name() const { return hello_.group(); }
  GroupId id() const { return id_; }
  monitoring::TimePoint last_heard() const { return last_heard_; }

  // False: the connection is closed, or its peer takes nothing any more.
  bool send(const comm::pb::Frame& frame) { return connection_->try_send(frame); }

  // Closes the connection; the owner is not called any more.
  void drop();
  // No more requests will come: tells the leader, then drops.
  void drain();

 private:
  WorkerGroup(std::shared_ptr<comm::Connection> connection, Owner& owner, const monitoring::Clock& clock)
      : connection_(std::move(connection)), owner_(&owner), clock_(clock) {}
  static boost::asio::awaitable<void> run(std::shared_ptr<WorkerGroup> self);
  static boost::asio::awaitable<void> say_goodbye(std::shared_ptr<comm::Connection> connection,
                                                  comm::pb::Frame last);
  boost::asio::awaitable<bool> greet();

  std::shared_ptr<comm::Connection> connection_;
  Owner* owner_;  // null: dropped
  const monitoring::Clock& clock_;
  comm::pb::Hello hello_;
  GroupId id_{};
  bool joined_ = false;
  monitoring::TimePoint last_heard_{};
};

}  // namespace batchmax::coordinator
