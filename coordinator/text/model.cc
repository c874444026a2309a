#include "coordinator/text/model.h"

#include "coordinator/text/bpe_model.h"
#include "coordinator/text/unigram_model.h"

namespace batchmax::coordinator {

std::unique_ptr<Model> make_model(const JsonNode& node) {
  // Old files have no type; then the shape of the vocabulary tells.
  const std::string type = node.has("type")              ? node.at("type").as_string()
                           : node.at("vocab").is_array() ? "Unigram"
                                                         : "BPE";
  if (type == "BPE") return std::make_unique<BpeModel>(node);
  if (type == "Unigram") return std::make_unique<UnigramModel>(node);
  node.at("type").fail("expected BPE or Unigram, found " + type);
}

}  // namespace batchmax::coordinator
