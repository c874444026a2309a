#include "coordinator/text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

namespace batchmax::coordinator {

Vocabulary Vocabulary::from_object(const JsonNode& node) {
  const auto& object = node.as_object();
  Vocabulary vocabulary;
  int64_t largest = -1;
  for (const auto& member : object) {
    const auto& id = member.value();
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > kLargestId)
      node.fail(
          fmt::format("token {}: expected an id from 0 to {}", std::string_view(member.key()), kLargestId));
    largest = std::max(largest, id.get_int64());
  }
  vocabulary.tokens_.resize(static_cast<size_t>(largest + 1));
  std::vector<bool> taken(static_cast<size_t>(largest + 1), false);
  for (const auto& member : object) {
    const auto id = static_cast<size_t>(member.value().get_int64());
    if (taken[id])
      node.fail(fmt::format("id {} belongs to two tokens, {} and {}", id, vocabulary.tokens_[id],
                            std::string_view(member.key())));
    taken[id] = true;
    vocabulary.tokens_[id] = std::string(member.key());
  }
  vocabulary.ids_.reserve(object.size());
  for (size_t id = 0; id < taken.size(); ++id)
    if (taken[id]) vocabulary.ids_.emplace(vocabulary.tokens_[id], static_cast<int32_t>(id));
  return vocabulary;
}

Vocabulary Vocabulary::from_list(std::vector<std::string> tokens) {
  Vocabulary vocabulary;
  vocabulary.tokens_ = std::move(tokens);
  vocabulary.ids_.reserve(vocabulary.tokens_.size());
  for (size_t id = 0; id < vocabulary.tokens_.size(); ++id)
    vocabulary.ids_[vocabulary.tokens_[id]] = static_cast<int32_t>(id);
  return vocabulary;
}

}  // namespace batchmax::coordinator
