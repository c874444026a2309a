// The post_processor of a tokenizer.json, for one sequence: which ids stand before and behind the text's own.
// Immutable after construction; any thread may use it.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class PostProcessor {
 public:
  // From the value of the key post_processor (null: nothing is added). Throws std::runtime_error naming the
  // key of an unknown type, and for a sequence of two that both add tokens.
  explicit PostProcessor(const JsonNode& node);

  void add_special_tokens(std::vector<int32_t>& ids) const;

 private:
  void read(const JsonNode& node);
  void read_template(const JsonNode& node);
  void surround(const JsonNode& node, std::vector<int32_t> before, std::vector<int32_t> behind);

  bool surrounds_ = false;  // a part that adds tokens was read
  std::vector<int32_t> before_;
  std::vector<int32_t> behind_;
};

}  // namespace batchmax::coordinator
