// The scoring of unknown characters (ten below the worst token, neighbours fused) is SentencePiece's.
#include "coordinator/text/unigram_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "coordinator/text/byte_level.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

constexpr double kUnknownPenalty = 10.0;

struct Arrival {
  double score = 0;
  int32_t token = -1;
  int64_t from = -1;  // -1: not reached
};

std::vector<std::string> read_tokens(const JsonNode& node, std::vector<double>& scores) {
  std::vector<std::string> tokens;
  const auto& list = node.as_array();
  if (list.size() > static_cast<size_t>(Vocabulary::kLargestId)) node.fail("too many tokens");
  for (const auto& item : list) {
    const auto* pair = item.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_number())
      node.fail(fmt::format("entry {}: expected a pair of a token and a score", tokens.size()));
    tokens.emplace_back((*pair)[0].get_string());
    scores.push_back((*pair)[1].to_number<double>());
  }
  return tokens;
}

}  // namespace

class UnigramModel::UnigramScratch final : public Scratch {
 public:
  std::vector<Arrival> arrivals;
  std::vector<std::pair<size_t, size_t>> pieces;  // [begin, end), last first
};

UnigramModel::UnigramModel(const JsonNode& node)
    : vocabulary_(Vocabulary::from_list(read_tokens(node.at("vocab"), scores_))),
      byte_fallback_(node.bool_or("byte_fallback", false)) {
  const auto& tokens = vocabulary_.tokens();
  if (tokens.empty()) node.at("vocab").fail("expected at least one token");
  unknown_ = static_cast<int32_t>(node.integer_or("unk_id", 0, static_cast<int64_t>(tokens.size()) - 1, -1));
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  nodes_.emplace_back();
  for (size_t id = 0; id < tokens.size(); ++id) insert(tokens[id], vocabulary_.find(tokens[id]));
  for (int byte = 0; byte < 256; ++byte)
    fallback_[static_cast<size_t>(byte)] = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
}

void UnigramModel::insert(std::string_view token, int32_t id) {
  if (token.empty()) return;
  uint32_t node = 0;
  for (const char byte : token) {
    const auto [child, added] = children_.try_emplace(
        static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte), static_cast<uint32_t>(nodes_.size()));
    if (added) nodes_.emplace_back();
    node = child->second;
  }
  nodes_[node].token = id;
}

std::unique_ptr<Model::Scratch> UnigramModel::make_scratch(size_t) const {
  return std::make_unique<UnigramScratch>();
}

void UnigramModel::append_token(std::string_view piece, std::vector<int32_t>& ids) const {
  if (const int32_t id = vocabulary_.find(piece); id >= 0) {
    ids.push_back(id);
    return;
  }
  const auto has_byte = [&](char byte) { return fallback_[static_cast<uint8_t>(byte)] >= 0; };
  if (byte_fallback_ && std::all_of(piece.begin(), piece.end(), has_byte)) {
    for (const char byte : piece) ids.push_back(fallback_[static_cast<uint8_t>(byte)]);
    return;
  }
  if (unknown_ >= 0) ids.push_back(unknown_);
}

void UnigramModel::tokenize(std::string_view word, bool bytes, Scratch& scratch,
                            std::vector<int32_t>& ids) const {
  if (bytes) return tokenize(bytes_to_characters(word), false, scratch, ids);
  auto& own = static_cast<UnigramScratch&>(scratch);
  auto& arrivals = own.arrivals;
  arrivals.assign(word.size() + 1, Arrival{});
  const auto arrive = [&](size_t from, size_t to, int32_t token, double score) {
    Arrival& target = arrivals[to];
    if (target.from < 0 || score > target.score) target = {score, token, static_cast<int64_t>(from)};
  };
  for (size_t begin = 0; begin < word.size();) {
    const size_t length = utf8_length(word[begin]);
    const double so_far = arrivals[begin].score;
    bool has_single = false;
    uint32_t node = 0;
    for (size_t end = begin; end < word.size();) {
      ++own.steps;
      const auto child = children_.find(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(word[end]));
      if (child == children_.end()) break;
      node = child->second;
      ++end;
      const int32_t token = nodes_[node].token;
      if (token < 0) continue;
      arrive(begin, end, token, scores_[static_cast<size_t>(token)] + so_far);
      has_single |= end - begin == length;
    }
    if (!has_single) arrive(begin, begin + length, unknown_, unknown_score_ + so_far);
    begin += length;
  }
  // Back along the best path; unknown neighbours become one piece.
  own.pieces.clear();
  bool open_unknown = false;
  for (size_t end = word.size(); end > 0;) {
    const Arrival& best = arrivals[end];
    const auto begin = static_cast<size_t>(best.from);
    const bool unknown = best.token == unknown_;
    if (unknown && open_unknown) {
      own.pieces.back().first = begin;
    } else {
      own.pieces.emplace_back(begin, end);
    }
    open_unknown = unknown;
    end = begin;
  }
  for (auto piece = own.pieces.rbegin(); piece != own.pieces.rend(); ++piece)
    append_token(word.substr(piece->first, piece->second - piece->first), ids);
}

}  // namespace batchmax::coordinator
