// A transformer with a compressed KV cache, the slow and obvious way: double arithmetic, one vector per key,
// an explicit list of what every (layer, KV head) holds. It shares no arithmetic with the product; weights
// come from the same source. One sequence.
//
// What stays and what goes is asked of a Chooser, which sees every candidate with its score: OwnChoice
// decides by the rule; a test may compare another engine's choice with the scores and let the reference
// follow it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "config/compression.h"
#include "worker/model/model_config.h"
#include "worker/model/weight_source.h"

namespace batchmax::reference {

enum class Score { average, key_distance, key_diff, recency, random };

struct Candidate {
  int32_t position;
  double score;  // higher stays
  bool is_protected;
};

class Chooser {
 public:
  virtual ~Chooser() = default;
  // The positions of the `keep` candidates that stay.
  virtual std::vector<int32_t> survivors(int32_t layer, int32_t head,
                                         const std::vector<Candidate>& candidates, int32_t keep) = 0;
  // The positions of the `count` that go next, first to go first.
  virtual std::vector<int32_t> victims(int32_t layer, int32_t head, const std::vector<Candidate>& candidates,
                                       int32_t count) = 0;
};

// Worst first: the order in which unprotected candidates go. Lower score first; of equal scores the younger.
std::vector<Candidate> in_order_of_leaving(const std::vector<Candidate>& candidates);

class OwnChoice final : public Chooser {
 public:
  std::vector<int32_t> survivors(int32_t layer, int32_t head, const std::vector<Candidate>& candidates,
                                 int32_t keep) override;
  std::vector<int32_t> victims(int32_t layer, int32_t head, const std::vector<Candidate>& candidates,
                               int32_t count) override;
};

struct Slot {
  int32_t position;
  std::vector<double> key;  // before the rotation
  std::vector<double> rotated;
  std::vector<double> value;
  double mass = 0;
};

class DenseReference {
 public:
  struct Settings {
    config::Compression compression;
    Score score = Score::key_distance;
    bool layer_scope = false;
    uint64_t seed = 0;
    int32_t prompt_length = 0;
  };
  DenseReference(const worker::ModelConfig& model, worker::WeightSource& source, const Settings& settings,
                 Chooser& chooser);

  // Processes the next tokens: a block of the prompt, or one decoded token. Logits after the last of them.
  std::vector<double> step(std::span<const int32_t> ids);

  int32_t processed() const { return processed_; }
  const std::vector<Slot>& slots(int32_t layer, int32_t head) const { return held_[at(layer, head)]; }

 private:
  using Vector = std::vector<double>;
  struct Matrix {
    int64_t rows = 0, columns = 0;
    std::vector<float> values;
    Vector times(const Vector& x) const;
  };
  size_t at(int32_t layer, int32_t head) const { return static_cast<size_t>(layer * model_.kv_heads + head); }
  const Matrix& matrix(const std::string& name, int64_t rows, int64_t columns);
  Vector vector_of(const std::string& name, int64_t count);
  Vector norm(const Vector& x, const std::string& name);
  Vector rotate(const Vector& x, int32_t position) const;
  void attention(int32_t layer, std::vector<Vector>& residual);
  Vector attend(int32_t layer, int32_t head, const Vector& queries, int32_t position);
  void store(int32_t layer);
  double score_of(const Slot& slot, int32_t layer, int32_t head, const Vector& mean) const;
  std::vector<double> head_scores(const std::vector<Slot>& pool, int32_t layer, int32_t head) const;
  std::vector<std::vector<Candidate>> candidates_of(const std::vector<std::vector<Slot>>& pools,
                                                    int32_t layer) const;
  bool is_protected(int32_t position) const;
  void choose_victims();

  worker::ModelConfig model_;
  worker::WeightSource& source_;
  Settings settings_;
  Chooser& chooser_;
  std::map<std::string, Matrix> weights_;
  std::vector<std::vector<Slot>> held_;       // [layer * kv_heads + head]
  std::vector<std::vector<int32_t>> queues_;  // positions, [layer * kv_heads + head]
  std::vector<std::vector<Slot>> fresh_;      // of the layer at work, per head
  int32_t processed_ = 0;
  int32_t now_ = -1;  // position of the last token of the step at work
};

}  // namespace batchmax::reference
