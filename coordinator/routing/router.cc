#include "coordinator/routing/router.h"

#include <tuple>

namespace batchmax::coordinator {

std::optional<GroupId> route(std::span<const GroupLoad> loads) {
  const auto rank = [](const GroupLoad& load) {
    return std::tuple(-load.headroom, load.sequences, load.group);
  };
  const GroupLoad* best = nullptr;
  for (const GroupLoad& load : loads) {
    if (load.has_room && (best == nullptr || rank(load) < rank(*best))) best = &load;
  }
  return best == nullptr ? std::nullopt : std::optional(best->group);
}

}  // namespace batchmax::coordinator
