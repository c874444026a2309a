// What transformers says of a checkpoint (tests/golden/README.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace batchmax {

struct Golden {
  std::string checkpoint;  // folder
  std::vector<int32_t> prompt;
  std::vector<int32_t> positions;
  std::vector<int32_t> greedy;             // what follows the prompt
  std::vector<std::vector<float>> logits;  // after each of `positions`
};

// root: of the repository. name: a folder of tests/golden/models.
Golden read_golden(const std::string& root, const std::string& name);

}  // namespace batchmax
