// What one request has been told so far: the one place that decides whether a token is new. Only the next
// index of the current attempt is taken, so that no token is lost or repeated, whatever groups die or say.
// Also what a replay starts from. A pure value.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace batchmax::coordinator {

class TokenLog {
 public:
  explicit TokenLog(std::vector<int32_t> prompt, int32_t max_tokens)
      : tokens_(std::move(prompt)), prompt_(static_cast<int32_t>(tokens_.size())), max_tokens_(max_tokens) {}

  enum class Verdict : uint8_t {
    next,   // taken
    stale,  // of an attempt given up: ignored
    wrong,  // not the next index, or more than max_tokens: the group is broken
  };
  Verdict take(uint32_t attempt, uint32_t index, std::span<const int32_t> ids) {
    if (attempt != attempt_) return Verdict::stale;
    if (ids.empty() || index != static_cast<uint32_t>(emitted()) ||
        ids.size() > static_cast<size_t>(remaining())) {
      return Verdict::wrong;
    }
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    return Verdict::next;
  }

  // Log probabilities of the prompt's tokens from `position` on: the same rule.
  Verdict take_scores(uint32_t attempt, uint32_t position, size_t count) {
    if (attempt != attempt_) return Verdict::stale;
    if (count == 0 || emitted() > 0 || position != static_cast<uint32_t>(next_score_) ||
        count > static_cast<size_t>(prompt_ - next_score_)) {
      return Verdict::wrong;
    }
    next_score_ += static_cast<int32_t>(count);
    return Verdict::next;
  }
  int32_t next_score() const {
    return next_score_;
  }  // position of the prompt; prompt_tokens(): all are there

  uint32_t attempt() const { return attempt_; }
  void give_up_attempt() { ++attempt_; }

  const std::vector<int32_t>& tokens() const { return tokens_; }  // prompt, then what was emitted
  int32_t prompt_tokens() const { return prompt_; }
  int32_t emitted() const { return static_cast<int32_t>(tokens_.size()) - prompt_; }
  int32_t max_tokens() const { return max_tokens_; }
  int32_t remaining() const { return max_tokens_ - emitted(); }

 private:
  std::vector<int32_t> tokens_;
  int32_t prompt_;
  int32_t max_tokens_;
  int32_t next_score_ = 1;  // the first token has none
  uint32_t attempt_ = 1;
};

}  // namespace batchmax::coordinator
