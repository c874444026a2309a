#include "coordinator/gateway/token_scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cmath>

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

namespace json = boost::json;

std::string bytes_of(const Tokenizer* tokenizer, int32_t id, bool begins_text) {
  if (tokenizer == nullptr) return "token_id:" + std::to_string(id);
  std::string bytes = tokenizer->bytes(id);
  // Decoding shows what a text may not begin with, but no part of a character.
  return begins_text && is_valid_utf8(bytes) ? tokenizer->decode(std::span(&id, 1), false) : bytes;
}

// As OpenAI shows parts of characters: two of them never look the same.
std::string text_of(const std::string& bytes, const char* prefix) {
  if (is_valid_utf8(bytes)) return bytes;
  std::string text = prefix;
  for (const char byte : bytes) text += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
  return text;
}

// Characters that begin in it.
int64_t code_points(const std::string& bytes) {
  return std::count_if(bytes.begin(), bytes.end(), [](char byte) { return (byte & 0xC0) != 0x80; });
}

// JSON has no infinity; other servers of this API say the same for "never".
double number_of(float logprob) { return std::isfinite(logprob) ? static_cast<double>(logprob) : -9999.0; }

json::object chat_entry(const std::string& token, float logprob) {
  json::object entry;
  entry["token"] = text_of(token, "");
  entry["logprob"] = number_of(logprob);
  json::array bytes;
  for (const char byte : token) bytes.push_back(static_cast<uint8_t>(byte));
  entry["bytes"] = std::move(bytes);
  return entry;
}

std::string completion_text(const Tokenizer* tokenizer, const ScoredToken& token, int32_t id) {
  return text_of(bytes_of(tokenizer, id, token.begins_text), "bytes:");
}

json::value alternatives(const Tokenizer* tokenizer, const ScoredToken& token, const std::string& own_text) {
  if (!token.logprob) return nullptr;
  json::object by_text;  // where two have one text, the likelier stands
  for (const auto& [id, logprob] : token.logprob->top)
    by_text.emplace(completion_text(tokenizer, token, id), number_of(logprob));
  by_text.emplace(own_text, number_of(token.logprob->logprob));
  return by_text;
}

}  // namespace

ScoredToken TokenScores::add(int32_t id, std::optional<TokenLogprob> logprob) {
  ScoredToken token{id, offset_, std::move(logprob), begins_text_};
  if (tokenizer_ != nullptr && skip_special_tokens_ && tokenizer_->is_special(id)) return token;
  offset_ += code_points(bytes_of(tokenizer_, id, begins_text_));
  begins_text_ = false;
  return token;
}

json::object completion_logprobs(const Tokenizer* tokenizer, std::span<const ScoredToken> tokens) {
  json::array texts, logprobs, tops, offsets;
  for (const ScoredToken& token : tokens) {
    const std::string text = completion_text(tokenizer, token, token.id);
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
    const auto entry_of = [&](int32_t id, float logprob) {
      return chat_entry(bytes_of(tokenizer, id, token.begins_text), logprob);
    };
    json::object entry = entry_of(token.id, token.logprob->logprob);
    json::array top;
    for (const auto& [id, logprob] : token.logprob->top) top.push_back(entry_of(id, logprob));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  json::object object;
  object["content"] = std::move(content);
  object["refusal"] = nullptr;
  return object;
}

}  // namespace batchmax::coordinator
