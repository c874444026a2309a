// Which group a request goes to: a pure function of the groups' loads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace batchmax::coordinator {

// One connected start of a group. A group that comes back gets a new number.
enum class GroupId : uint64_t {};

struct GroupLoad {
  GroupId group;
  int32_t headroom;   // pages nobody has reserved
  int32_t sequences;  // that it runs
  bool has_room;      // for this request: pages and a sequence's place
};

// The group with the most headroom; of equals the one with the fewest sequences, then the oldest. Empty: none
// has room.
std::optional<GroupId> route(std::span<const GroupLoad> loads);

}  // namespace batchmax::coordinator
