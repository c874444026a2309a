#include "coordinator/text/post_processor.h"

#include <utility>

#include "coordinator/text/vocabulary.h"

namespace batchmax::coordinator {
namespace {

int32_t read_id(const JsonNode& node) {
  return static_cast<int32_t>(node.as_integer(0, Vocabulary::kLargestId));
}

// ["<s>", 0]
int32_t read_named_id(const JsonNode& node) {
  const auto pair = node.items();
  if (pair.size() != 2) node.fail("expected a pair of a token and its id");
  return read_id(pair[1]);
}

}  // namespace

PostProcessor::PostProcessor(const JsonNode& node) {
  if (!node.is_null()) read(node);
}

// The Python package puts the tokens of a second one around each token of the first: no published tokenizer
// wants that.
void PostProcessor::surround(const JsonNode& node, std::vector<int32_t> before, std::vector<int32_t> behind) {
  if (surrounds_) node.fail("a second one that adds tokens is not known here");
  surrounds_ = true;
  before_ = std::move(before);
  behind_ = std::move(behind);
}

void PostProcessor::read(const JsonNode& node) {
  const std::string type = node.at("type").as_string();
  if (type == "ByteLevel") return;  // changes offsets only, which nobody here looks at
  if (type == "Sequence") {
    for (const JsonNode& item : node.at("processors").items()) read(item);
  } else if (type == "TemplateProcessing") {
    read_template(node);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    surround(node, {read_named_id(node.at("cls"))}, {read_named_id(node.at("sep"))});
  } else {
    node.at("type").fail(
        "expected one of ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing, Sequence, found " +
        type);
  }
}

void PostProcessor::read_template(const JsonNode& node) {
  std::vector<int32_t> before, behind;
  int sequences = 0;
  for (const JsonNode& piece : node.at("single").items()) {
    if (piece.has("Sequence")) {
      ++sequences;
      continue;
    }
    const std::string name = piece.at("SpecialToken").at("id").as_string();
    auto& side = sequences == 0 ? before : behind;
    for (const JsonNode& id : node.at("special_tokens").at(name).at("ids").items())
      side.push_back(read_id(id));
  }
  if (sequences != 1) node.at("single").fail("expected the sequence exactly once");
  surround(node, std::move(before), std::move(behind));
}

void PostProcessor::add_special_tokens(std::vector<int32_t>& ids) const {
  ids.insert(ids.begin(), before_.begin(), before_.end());
  ids.insert(ids.end(), behind_.begin(), behind_.end());
}

}  // namespace batchmax::coordinator
