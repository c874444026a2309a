// Which groups may join, and what they said of their model. A pure state machine.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>

#include "comm/protocol/messages.pb.h"
#include "coordinator/routing/model_facts.h"
#include "coordinator/routing/router.h"

namespace batchmax::coordinator {

class Registry {
 public:
  explicit Registry(std::string config_digest) : digest_(std::move(config_digest)) {}

  struct Joined {
    GroupId group;
    std::optional<GroupId> replaced;  // an older start (or connection) of the same name, to be dropped
  };
  struct Refused {
    std::string reason;  // for the group's log: what to do
  };
  // A Hello. Epochs of one name never go back; the same epoch again is the same process on a new connection.
  std::variant<Joined, Refused> join(const comm::pb::Hello& hello);
  void leave(GroupId group);

  std::optional<ModelFacts> model() const;  // empty until the first group has joined
  int32_t present() const;

 private:
  struct Known {
    uint64_t epoch = 0;
    std::optional<GroupId> present;
    int32_t capacity_pages = 0;
  };
  std::optional<std::string> objection(const comm::pb::Hello& hello) const;

  const std::string digest_;
  std::map<std::string, Known> known_;  // by name
  std::optional<ModelFacts> facts_;
  uint64_t next_group_ = 1;
};

}  // namespace batchmax::coordinator
