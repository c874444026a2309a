// What turns one word into token ids: BPE or Unigram. Immutable after construction; any thread may tokenize,
// each with its own scratch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class Model {
 public:
  // Working memory of one caller, reused from word to word: a bounded word cache and buffers.
  class Scratch {
   public:
    virtual ~Scratch() = default;
    // Elementary steps taken so far (pairs looked up, nodes visited): a measure of work that needs no clock.
    uint64_t steps = 0;
  };

  virtual ~Model() = default;
  // `text_size`: bytes that this scratch is going to see, a hint for the size of its cache.
  virtual std::unique_ptr<Scratch> make_scratch(size_t text_size) const = 0;
  // Appends the ids of a non-empty word. bytes: the word is raw bytes for the byte-level alphabet; else valid
  // UTF-8.
  virtual void tokenize(std::string_view word, bool bytes, Scratch& scratch,
                        std::vector<int32_t>& ids) const = 0;

  // The vocabulary by id; an empty string for an id without a token.
  virtual const std::vector<std::string>& tokens() const = 0;
  virtual int32_t token_count() const = 0;                 // tokens that exist
  virtual int32_t find(std::string_view token) const = 0;  // -1: none
};

// From the value of the key model. Throws std::runtime_error naming file and key.
std::unique_ptr<Model> make_model(const JsonNode& node);

}  // namespace batchmax::coordinator
