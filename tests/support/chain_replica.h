// A replica whose model is a hash chain: the next token follows from all tokens before it. So a token that
// was lost, repeated, swapped or put into another request's stream changes all that come after it, and a test
// can tell what must come without a model. Each rank knows a part of every token; the sum over the ranks is
// the token, as with a real model.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "worker/replica.h"

namespace batchmax::worker {

inline constexpr int32_t kChainVocabulary = 1024;

class Chain {
 public:
  void add(int32_t token) {
    hash_ = (hash_ ^ static_cast<uint32_t>(token)) * 0x100000001b3ULL;
    ++length_;
  }
  // What rank `rank` of `size` knows of the next token: some of the four bytes whose sum it is.
  int32_t share(int rank, int size) const {
    int32_t sum = 0;
    for (int byte = rank; byte < 4; byte += size)
      sum += static_cast<int32_t>(hash_ >> (32 + 8 * byte) & 0xff);
    return sum;
  }
  int32_t next() const { return share(0, 1); }
  int32_t length() const { return length_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325ULL;
  int32_t length_ = 0;
};

// The `count` tokens that follow on the prompt.
std::vector<int32_t> chain_after(std::span<const int32_t> prompt, int32_t count);

struct ChainOptions {
  int layers = 4;
  std::chrono::microseconds layer_time{500};
  int32_t capacity_pages = 512;
};

// Takes max_num_seqs, max_model_len (4096 if 0) and compression from the settings; reads no files.
std::unique_ptr<Replica> make_chain_replica(const config::Settings& settings, comm::TensorGroup& tensors,
                                            monitoring::Progress& progress, const ChainOptions& options);

}  // namespace batchmax::worker
