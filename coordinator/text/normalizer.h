// The normalizer of a tokenizer.json: rewrites text before it is cut into words.
// Immutable after construction; any thread may normalize.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class Normalizer {
 public:
  // From the value of the key normalizer (null: text stays as it is). Throws std::runtime_error naming the
  // key of an unknown type.
  explicit Normalizer(const JsonNode& node);
  Normalizer(Normalizer&&) noexcept;
  Normalizer& operator=(Normalizer&&) noexcept;
  ~Normalizer();

  // Nothing where the text stays as it is.
  std::optional<std::string> normalize(std::string_view valid_text) const;

  class Stage;

 private:
  std::vector<std::unique_ptr<Stage>> stages_;
};

}  // namespace batchmax::coordinator
