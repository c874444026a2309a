#include "coordinator/gateway/token_scores.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <cmath>

namespace batchmax::coordinator {
namespace {

namespace json = boost::json;

std::string text_of(const Tokenizer* tokenizer, int32_t id) {
  if (tokenizer == nullptr) return "token_id:" + std::to_string(id);
  return tokenizer->decode(std::span(&id, 1), false);
}

int64_t code_points(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; });
}

// JSON has no infinity; other servers of this API say the same for "never".
double number_of(float logprob) { return std::isfinite(logprob) ? static_cast<double>(logprob) : -9999.0; }

json::object chat_entry(const std::string& text, float logprob) {
  json::object entry;
  entry["token"] = text;
  entry["logprob"] = number_of(logprob);
  json::array bytes;
  for (const char byte : text) bytes.push_back(static_cast<uint8_t>(byte));
  entry["bytes"] = std::move(bytes);
  return entry;
}

json::value alternatives(const Tokenizer* tokenizer, const ScoredToken& token, const std::string& own_text) {
  if (!token.logprob) return nullptr;
  json::object by_text;  // where two have one text, the likelier stands
  for (const auto& [id, logprob] : token.logprob->top)
    by_text.emplace(text_of(tokenizer, id), number_of(logprob));
  by_text.emplace(own_text, number_of(token.logprob->logprob));
  return by_text;
}

}  // namespace

ScoredToken TokenScores::add(int32_t id, std::optional<TokenLogprob> logprob) {
  ScoredToken token{id, offset_, std::move(logprob)};
  offset_ += code_points(text_of(tokenizer_, id));
  return token;
}

json::object completion_logprobs(const Tokenizer* tokenizer, std::span<const ScoredToken> tokens) {
  json::array texts, logprobs, tops, offsets;
  for (const ScoredToken& token : tokens) {
    const std::string text = text_of(tokenizer, token.id);
    texts.push_back(json::string(text));
    if (token.logprob) {
      logprobs.push_back(number_of(token.logprob->logprob));
    } else {
      logprobs.push_back(nullptr);
    }
    tops.push_back(alternatives(tokenizer, token, text));
    offsets.push_back(token.offset);
  }
  json::object object;
  object["tokens"] = std::move(texts);
  object["token_logprobs"] = std::move(logprobs);
  object["top_logprobs"] = std::move(tops);
  object["text_offset"] = std::move(offsets);
  return object;
}

json::object chat_logprobs(const Tokenizer* tokenizer, std::span<const ScoredToken> tokens) {
  json::array content;
  for (const ScoredToken& token : tokens) {
    if (!token.logprob) continue;
    json::object entry = chat_entry(text_of(tokenizer, token.id), token.logprob->logprob);
    json::array top;
    for (const auto& [id, logprob] : token.logprob->top)
      top.push_back(chat_entry(text_of(tokenizer, id), logprob));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  json::object object;
  object["content"] = std::move(content);
  object["refusal"] = nullptr;
  return object;
}

}  // namespace batchmax::coordinator
