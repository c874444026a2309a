// The JSON of completion answers, whole and in chunks, in OpenAI's shapes. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/gateway/generation_run.h"

namespace batchmax::coordinator {

// What every chunk of an answer repeats.
struct AnswerFrame {
  Api api = Api::completion;
  std::string id;
  int64_t created = 0;  // Unix seconds
  std::string model;
  config::Compression compression;
  const Tokenizer* tokenizer = nullptr;  // null: the model has none, ids are the only answer there is
  bool null_usage = false;               // include_usage: chunks without figures say "usage": null
};

struct AnswerFigures {
  std::optional<Usage> usage;
  std::optional<KvFigures> kv;  // the `batchmax` object
};

struct WholeChoice {
  std::string text;
  std::vector<int32_t> tokens;      // where there is no tokenizer
  std::vector<ScoredToken> scored;  // where log probabilities were asked for
  FinishReason finish = FinishReason::stop;
};

std::string chunk_json(const AnswerFrame& frame, const Delta& delta, const AnswerFigures& figures);
// The chunk without choices that closes a stream with include_usage.
std::string closing_json(const AnswerFrame& frame, const AnswerFigures& figures);
std::string whole_json(const AnswerFrame& frame, const std::vector<WholeChoice>& choices,
                       const AnswerFigures& figures);

}  // namespace batchmax::coordinator
