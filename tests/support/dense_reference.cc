#include "tests/support/dense_reference.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/eviction/score.h"
#include "monitoring/check.h"

namespace batchmax::reference {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Vector part(const Vector& x, int64_t begin, int64_t count) {
  return Vector(x.begin() + begin, x.begin() + begin + count);
}

void add(Vector& to, const Vector& x) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += x[i];
}

}  // namespace

std::vector<Candidate> in_order_of_leaving(const std::vector<Candidate>& candidates) {
  std::vector<Candidate> open;
  for (const Candidate& candidate : candidates) {
    if (!candidate.is_protected) open.push_back(candidate);
  }
  std::sort(open.begin(), open.end(), [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.position > b.position;
  });
  return open;
}

std::vector<int32_t> OwnChoice::survivors(int32_t layer, int32_t head,
                                          const std::vector<Candidate>& candidates, int32_t keep) {
  const auto count = static_cast<int32_t>(candidates.size()) - keep;
  const std::vector<int32_t> gone = victims(layer, head, candidates, count);
  std::vector<int32_t> stay;
  for (const Candidate& candidate : candidates) {
    if (std::find(gone.begin(), gone.end(), candidate.position) == gone.end())
      stay.push_back(candidate.position);
  }
  return stay;
}

std::vector<int32_t> OwnChoice::victims(int32_t, int32_t, const std::vector<Candidate>& candidates,
                                        int32_t count) {
  const std::vector<Candidate> order = in_order_of_leaving(candidates);
  CHECK_LE(static_cast<size_t>(count), order.size());
  std::vector<int32_t> gone;
  for (int32_t i = 0; i < count; ++i) gone.push_back(order[static_cast<size_t>(i)].position);
  return gone;
}

DenseReference::DenseReference(const worker::ModelConfig& model, worker::WeightSource& source,
                               const Settings& settings, Chooser& chooser)
    : model_(model),
      source_(source),
      settings_(settings),
      chooser_(chooser),
      held_(static_cast<size_t>(model.layers * model.kv_heads)),
      queues_(held_.size()) {}

const DenseReference::Matrix& DenseReference::matrix(const std::string& name, int64_t rows, int64_t columns) {
  Matrix& matrix = weights_[name];
  if (matrix.values.empty()) {
    matrix.rows = rows;
    matrix.columns = columns;
    matrix.values.resize(static_cast<size_t>(rows * columns));
    source_.matrix(name, {rows, columns, 0, rows, 0, columns}, kernels::DType::f32, matrix.values.data());
  }
  return matrix;
}

Vector DenseReference::vector_of(const std::string& name, int64_t count) {
  Matrix& kept = weights_[name];
  if (kept.values.empty()) {
    kept.values.resize(static_cast<size_t>(count));
    source_.vector(name, count, 0, count, kernels::DType::f32, kept.values.data());
  }
  return Vector(kept.values.begin(), kept.values.end());
}

Vector DenseReference::Matrix::times(const Vector& x) const {
  Vector out(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (int64_t column = 0; column < columns; ++column) {
      sum += double{values[static_cast<size_t>(row * columns + column)]} * x[static_cast<size_t>(column)];
    }
    out[static_cast<size_t>(row)] = sum;
  }
  return out;
}

Vector DenseReference::norm(const Vector& x, const std::string& name) {
  const Vector weight = vector_of(name, static_cast<int64_t>(x.size()));
  const double scale = 1 / std::sqrt(dot(x, x) / static_cast<double>(x.size()) + double{model_.rms_eps});
  Vector out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
  return out;
}

Vector DenseReference::rotate(const Vector& x, int32_t position) const {
  const size_t half = x.size() / 2;
  Vector out(x.size());
  for (size_t i = 0; i < half; ++i) {
    const double frequency = std::pow(model_.rope_theta, -2.0 * static_cast<double>(i) / model_.head_dim);
    // Angles are single precision: part of the model's definition, as its checkpoints were trained.
    const double angle = static_cast<float>(position) * static_cast<float>(frequency);
    out[i] = x[i] * std::cos(angle) - x[i + half] * std::sin(angle);
    out[i + half] = x[i + half] * std::cos(angle) + x[i] * std::sin(angle);
  }
  return out;
}

std::vector<double> DenseReference::step(std::span<const int32_t> ids) {
  now_ = processed_ + static_cast<int32_t>(ids.size()) - 1;
  const Matrix& embedding = matrix("model.embed_tokens.weight", model_.vocab_size, model_.hidden);
  std::vector<Vector> residual;
  for (const int32_t id : ids) {
    const auto row = embedding.values.begin() + int64_t{id} * model_.hidden;
    residual.emplace_back(row, row + model_.hidden);
  }
  for (int32_t layer = 0; layer < model_.layers; ++layer) {
    attention(layer, residual);
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (Vector& x : residual) {
      const Vector h = norm(x, prefix + "post_attention_layernorm.weight");
      Vector gate = matrix(prefix + "mlp.gate_proj.weight", model_.intermediate, model_.hidden).times(h);
      const Vector up = matrix(prefix + "mlp.up_proj.weight", model_.intermediate, model_.hidden).times(h);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      add(x, matrix(prefix + "mlp.down_proj.weight", model_.hidden, model_.intermediate).times(gate));
    }
  }
  processed_ = now_ + 1;
  choose_victims();
  const Vector last = norm(residual.back(), "model.norm.weight");
  return matrix(model_.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight", model_.vocab_size,
                model_.hidden)
      .times(last);
}

void DenseReference::attention(int32_t layer, std::vector<Vector>& residual) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const int64_t D = model_.head_dim;
  const int32_t group = model_.heads / model_.kv_heads;
  const Matrix& wq = matrix(prefix + "self_attn.q_proj.weight", model_.heads * D, model_.hidden);
  const Matrix& wk = matrix(prefix + "self_attn.k_proj.weight", model_.kv_heads * D, model_.hidden);
  const Matrix& wv = matrix(prefix + "self_attn.v_proj.weight", model_.kv_heads * D, model_.hidden);
  const Matrix& wo = matrix(prefix + "self_attn.o_proj.weight", model_.hidden, model_.heads * D);

  std::vector<Vector> queries;
  fresh_.assign(static_cast<size_t>(model_.kv_heads), {});
  for (size_t i = 0; i < residual.size(); ++i) {
    const int32_t position = processed_ + static_cast<int32_t>(i);
    const Vector h = norm(residual[i], prefix + "input_layernorm.weight");
    queries.push_back(wq.times(h));
    const Vector k = wk.times(h);
    const Vector v = wv.times(h);
    for (int32_t head = 0; head < model_.kv_heads; ++head) {
      const Vector key = part(k, head * D, D);
      fresh_[static_cast<size_t>(head)].push_back(
          {position, key, rotate(key, position), part(v, head * D, D), 0});
    }
  }
  // A decoded token takes the place of the next victim before anybody looks.
  const bool decoding = processed_ >= settings_.prompt_length;
  if (decoding) {
    for (int32_t head = 0; head < model_.kv_heads; ++head) {
      std::vector<Slot>& held = held_[at(layer, head)];
      std::vector<int32_t>& queue = queues_[at(layer, head)];
      const bool full = settings_.compression.mode != config::Mode::off &&
                        static_cast<int32_t>(held.size()) == settings_.compression.budget;
      if (!full) continue;
      CHECK(!queue.empty());
      std::erase_if(held, [&](const Slot& slot) { return slot.position == queue.front(); });
      queue.erase(queue.begin());
    }
  }
  for (size_t i = 0; i < residual.size(); ++i) {
    Vector heads;
    for (int32_t head = 0; head < model_.kv_heads; ++head) {
      const Vector out = attend(layer, head, part(queries[i], head * group * D, group * D),
                                processed_ + static_cast<int32_t>(i));
      heads.insert(heads.end(), out.begin(), out.end());
    }
    add(residual[i], wo.times(heads));
  }
  store(layer);
}

// All query heads of one KV head at one position. Adds the probabilities to the mass of all but the own slot.
Vector DenseReference::attend(int32_t layer, int32_t head, const Vector& queries, int32_t position) {
  std::vector<Slot*> seen;
  for (Slot& slot : held_[at(layer, head)]) seen.push_back(&slot);
  for (Slot& slot : fresh_[static_cast<size_t>(head)]) {
    if (slot.position <= position) seen.push_back(&slot);
  }
  const int64_t D = model_.head_dim;
  Vector out;
  for (int64_t g = 0; g * D < static_cast<int64_t>(queries.size()); ++g) {
    const Vector q = rotate(part(queries, g * D, D), position);
    Vector p;
    for (const Slot* slot : seen) p.push_back(dot(q, slot->rotated) / std::sqrt(static_cast<double>(D)));
    const double top = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& x : p) sum += x = std::exp(x - top);
    Vector mixed(static_cast<size_t>(D));
    for (size_t j = 0; j < seen.size(); ++j) {
      p[j] /= sum;
      for (size_t d = 0; d < mixed.size(); ++d) mixed[d] += p[j] * seen[j]->value[d];
      if (seen[j]->position != position) seen[j]->mass += p[j];
    }
    out.insert(out.end(), mixed.begin(), mixed.end());
  }
  return out;
}

// The layer's new tokens join what is held; where that is more than may stay, some leave.
void DenseReference::store(int32_t layer) {
  const config::Compression& rule = settings_.compression;
  std::vector<std::vector<Slot>> pools;
  for (int32_t head = 0; head < model_.kv_heads; ++head) {
    pools.push_back(held_[at(layer, head)]);
    const auto& added = fresh_[static_cast<size_t>(head)];
    pools.back().insert(pools.back().end(), added.begin(), added.end());
  }
  const bool prompt_ends = now_ + 1 >= settings_.prompt_length && processed_ < settings_.prompt_length;
  const bool may_select =
      processed_ < settings_.prompt_length &&
      (rule.mode == config::Mode::full || (rule.mode == config::Mode::decode && prompt_ends));
  const bool selects = may_select && static_cast<int32_t>(pools[0].size()) > rule.budget;
  if (selects) {
    const auto candidates = candidates_of(pools, layer);
    for (int32_t head = 0; head < model_.kv_heads; ++head) {
      const std::vector<int32_t> stay =
          chooser_.survivors(layer, head, candidates[static_cast<size_t>(head)], rule.budget);
      const std::set<int32_t> kept(stay.begin(), stay.end());
      std::erase_if(pools[static_cast<size_t>(head)],
                    [&](const Slot& slot) { return !kept.contains(slot.position); });
    }
  }
  for (int32_t head = 0; head < model_.kv_heads; ++head) {
    held_[at(layer, head)] = std::move(pools[static_cast<size_t>(head)]);
  }
}

// The first positions, the last ones, the prompt's end once its last block is at work, and what nobody has
// seen yet.
bool DenseReference::is_protected(int32_t position) const {
  const config::Compression& rule = settings_.compression;
  const bool last_block = now_ >= settings_.prompt_length - 1;
  return position < rule.sinks || position > now_ - rule.recent || position == now_ ||
         (last_block && position >= settings_.prompt_length - rule.prompt_tail &&
          position < settings_.prompt_length);
}

double DenseReference::score_of(const Slot& slot, int32_t layer, int32_t head, const Vector& mean) const {
  switch (settings_.score) {
    case Score::average:
      return slot.mass / (now_ - slot.position);
    case Score::key_distance: {
      double squares = 0;
      for (size_t d = 0; d < mean.size(); ++d) squares += (slot.key[d] - mean[d]) * (slot.key[d] - mean[d]);
      return std::sqrt(squares);
    }
    case Score::key_diff:
      return -dot(slot.key, mean) / std::sqrt(dot(slot.key, slot.key) * dot(mean, mean));
    case Score::recency:
      return slot.position;
    case Score::random:
      return double{kernels::random_score(settings_.seed, layer, head, slot.position)};
  }
  return 0;
}

std::vector<double> DenseReference::head_scores(const std::vector<Slot>& pool, int32_t layer,
                                                int32_t head) const {
  Vector mean(static_cast<size_t>(model_.head_dim));
  for (const Slot& slot : pool) add(mean, slot.key);
  for (double& x : mean) x /= static_cast<double>(pool.size());
  Vector scores;
  for (const Slot& slot : pool) scores.push_back(score_of(slot, layer, head, mean));
  return scores;
}

std::vector<std::vector<Candidate>> DenseReference::candidates_of(const std::vector<std::vector<Slot>>& pools,
                                                                  int32_t layer) const {
  std::vector<Vector> scores;
  for (int32_t head = 0; head < model_.kv_heads; ++head) {
    scores.push_back(head_scores(pools[static_cast<size_t>(head)], layer, head));
  }
  if (settings_.layer_scope) {  // one list for all heads: they hold the same positions
    const bool same_everywhere = settings_.score == Score::recency || settings_.score == Score::random;
    std::map<int32_t, double> sums;
    for (size_t head = 0; head < pools.size(); ++head) {
      if (same_everywhere && head > 0) break;
      for (size_t i = 0; i < pools[head].size(); ++i) sums[pools[head][i].position] += scores[head][i];
    }
    for (size_t head = 0; head < pools.size(); ++head) {
      CHECK_EQ(pools[head].size(), sums.size());
      for (size_t i = 0; i < pools[head].size(); ++i) scores[head][i] = sums.at(pools[head][i].position);
    }
  }
  std::vector<std::vector<Candidate>> lists(pools.size());
  for (size_t head = 0; head < pools.size(); ++head) {
    for (size_t i = 0; i < pools[head].size(); ++i) {
      const int32_t position = pools[head][i].position;
      lists[head].push_back({position, scores[head][i], is_protected(position)});
    }
  }
  return lists;
}

void DenseReference::choose_victims() {
  const config::Compression& rule = settings_.compression;
  const bool due = rule.mode != config::Mode::off && processed_ >= settings_.prompt_length &&
                   static_cast<int32_t>(held_[0].size()) == rule.budget && queues_[0].empty();
  if (!due) return;
  for (int32_t layer = 0; layer < model_.layers; ++layer) {
    const std::vector<std::vector<Slot>> pools(held_.begin() + layer * model_.kv_heads,
                                               held_.begin() + (layer + 1) * model_.kv_heads);
    const auto candidates = candidates_of(pools, layer);
    for (int32_t head = 0; head < model_.kv_heads; ++head) {
      const auto& list = candidates[static_cast<size_t>(head)];
      const auto open = static_cast<int32_t>(in_order_of_leaving(list).size());
      queues_[at(layer, head)] = chooser_.victims(layer, head, list, std::min(rule.decode_block, open));
    }
  }
}

}  // namespace batchmax::reference
