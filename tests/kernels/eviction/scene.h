// A random cache, rows and staging for the eviction ops, and what the scores' formulas say of them, in
// double. Slots that no row may read hold NaN.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/eviction/score.h"
#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {

struct SceneShape {
  Pool pool = Pool::block;
  Score score = Score::key_distance;
  DType dtype = DType::f32;
  int32_t head_dim = 64;
  int32_t kv_heads = 3;
  int32_t layers = 2;
  struct Sequence {
    int32_t resident;
    int32_t tokens;
    int32_t keep;
    int32_t victims = 0;
  };
  std::vector<Sequence> sequences;  // one row each
  int32_t sinks = 2;
  int32_t recent = 4;
  bool same_positions = false;  // of all heads and layers, as scope layer leaves them
  float spread = 1.0F;          // of keys about a head's centre, before the rotation
  int32_t evicted = 7;          // positions before the block that no slot holds
  std::string describe() const {
    constexpr const char* kPools[] = {"block", "tail", "slots"};
    return std::string(name_of(score)) + ", " + kPools[static_cast<int>(pool)] + ", " + name_of(dtype) +
           ", D " + std::to_string(head_dim);
  }
};

class Scene {
 public:
  static constexpr int32_t kHeadOffset = 5;

  explicit Scene(const SceneShape& of) : shape(of) {
    for (const auto& [resident, tokens, keep, victims] : shape.sequences) {
      Row row{};
      row.sequence = static_cast<int32_t>(rows.size());
      row.resident = resident;
      row.token_begin = tokens_ + 1;  // a token of nobody between the rows
      row.token_count = tokens;
      row.position = resident + tokens + shape.evicted;
      row.queue_index = -1;
      row.keep = keep;
      row.victims = victims;
      row.sinks = shape.sinks;
      row.recent = shape.recent;
      row.tail_begin = row.position - 3;
      row.tail_end = row.position - 1;
      row.rope_table = static_cast<int32_t>(rows.size()) % kTables;
      row.seed = 1234567 + rows.size();
      tokens_ = row.token_begin + tokens;
      rows.push_back(row);
      stride_ = std::max(stride_, pages_of(row) + 1);
      max_positions_ = std::max(max_positions_, last_position(row) + 1);
    }
    ++tokens_;
    make_tables();
    scatter();
  }

  SceneShape shape;
  std::vector<Row> rows;
  std::vector<float> k, v, mass_new;  // staging [T, Hkv, D], [T, Hkv]
  std::vector<float> kv, mass;        // as KvView lays them out
  std::vector<int32_t> pos;

  int32_t tokens() const { return tokens_; }
  size_t dim() const { return static_cast<size_t>(shape.head_dim); }
  int32_t count(const Row& row) const { return candidate_count(shape.pool, row); }
  // Slots of the cache that hold something: those of the pool, in Pool::block the residents.
  int32_t slots(const Row& row) const { return shape.pool == Pool::block ? row.resident : count(row); }
  size_t state_at(const Row& row, int32_t layer, int32_t head, int32_t slot) const {
    const auto entry = static_cast<size_t>(row.sequence * stride_ + slot / kPageSlots);
    const auto tile = static_cast<size_t>((layer * pages_ + tables_[entry]) * shape.kv_heads + head);
    return tile * kPageSlots + static_cast<size_t>(slot % kPageSlots);
  }
  // First element of the slot's key in kv; its value lies kPageSlots · D further.
  size_t key_at(const Row& row, int32_t layer, int32_t head, int32_t slot) const {
    const size_t state = state_at(row, layer, head, slot);
    return (state / kPageSlots * 2 * kPageSlots + state % kPageSlots) * dim();
  }
  size_t staged_at(const Row& row, int32_t token, int32_t head) const {
    return static_cast<size_t>((row.token_begin + token) * shape.kv_heads + head);
  }
  int32_t position(const Row& row, int32_t layer, int32_t head, int32_t i) const {
    return i < slots(row) ? pos[state_at(row, layer, head, i)] : row.position + i - slots(row);
  }

  // The candidates' values: mass for `average`, the score for the others.
  std::vector<double> values(const Row& row, int32_t layer, int32_t head) const {
    std::vector<double> all;
    if (shape.score == Score::key_distance || shape.score == Score::key_diff)
      return key_values(row, layer, head);
    for (int32_t i = 0; i < count(row); ++i) {
      const int32_t at = position(row, layer, head, i);
      if (shape.score == Score::average) {
        all.push_back(static_cast<double>(i < slots(row) ? mass[state_at(row, layer, head, i)]
                                                         : mass_new[staged_at(row, i - slots(row), head)]));
      } else if (shape.score == Score::recency) {
        all.push_back(at);
      } else {
        all.push_back(static_cast<double>(random_score(row.seed, layer, kHeadOffset + head, at)));
      }
    }
    return all;
  }

  // The scene on its backend. A Loaded outlives what it hands out.
  struct Loaded {
    Array k, v, mass_new, kv, pos, mass, tables, cos, sin, frequency;
    Values<Row> rows;
    KvView view;
    Rows span() const { return {rows.host(), rows.data(), static_cast<int32_t>(rows.size())}; }
  };
  Loaded load(const Stream& stream) const { return load(stream, rows); }
  Loaded load(const Stream& stream, const std::vector<Row>& of_rows) const {
    const auto size = [](const auto& values) { return static_cast<int64_t>(values.size()); };
    Loaded on{Array::of_floats(stream, shape.dtype, k, {tokens_, shape.kv_heads, shape.head_dim}),
              Array::of_floats(stream, shape.dtype, v, {tokens_, shape.kv_heads, shape.head_dim}),
              Array(stream, mass_new, {tokens_, shape.kv_heads}),
              Array::of_floats(stream, shape.dtype, kv, {size(kv)}),
              Array(stream, pos, {size(pos)}),
              Array(stream, mass, {size(mass)}),
              Array(stream, tables_, {size(tables_)}),
              Array(stream, cos_, {size(cos_)}),
              Array(stream, sin_, {size(sin_)}),
              Array(stream, frequency_, {size(frequency_)}),
              Values<Row>(stream, of_rows),
              {}};
    on.view.kv = on.kv.tensor().data();
    on.view.pos = on.pos.tensor().as<int32_t>();
    on.view.mass = on.mass.tensor().as<float>();
    on.view.dtype = shape.dtype;
    on.view.layers = shape.layers;
    on.view.pages = pages_;
    on.view.kv_heads = shape.kv_heads;
    on.view.head_dim = shape.head_dim;
    on.view.page_tables = on.tables.tensor().as<int32_t>();
    on.view.table_stride = stride_;
    return on;
  }
  // Pool::block and tail: one layer, the last. Pool::slots: all.
  Candidates candidates(const Loaded& on) const {
    Candidates made;
    made.pool = shape.pool;
    made.score = shape.score;
    made.kv = on.view;
    made.layer_begin = first_layer();
    made.layer_count = shape.layers - first_layer();
    made.rows = on.span();
    made.k = on.k.tensor();
    made.mass_new = on.mass_new.tensor();
    made.rope = {on.cos.tensor().as<float>(), on.sin.tensor().as<float>(), max_positions_,
                 on.frequency.tensor().as<float>()};
    made.head_offset = kHeadOffset;
    return made;
  }
  int32_t first_layer() const { return shape.pool == Pool::slots ? 0 : shape.layers - 1; }
  int64_t pitch() const {
    int64_t widest = 1;
    for (const Row& row : rows) widest = std::max<int64_t>(widest, count(row));
    return widest + 3;
  }

 private:
  static constexpr int32_t kTables = 2;

  int32_t pages_of(const Row& row) const {
    const int32_t most = std::max({row.keep, slots(row), row.resident + row.token_count});
    return (most + kPageSlots - 1) / kPageSlots;
  }
  size_t rotation(const Row& row, int32_t position) const {
    return (static_cast<size_t>(row.rope_table) * static_cast<size_t>(max_positions_) +
            static_cast<size_t>(position)) *
           dim() / 2;
  }
  void make_tables() {
    const auto pairs = static_cast<size_t>(shape.head_dim / 2);
    for (int32_t table = 0; table < kTables; ++table) {
      for (size_t i = 0; i < pairs; ++i) {
        const double exponent = -2.0 * static_cast<double>(i) / shape.head_dim;
        frequency_.push_back(static_cast<float>(std::pow(table == 0 ? 10000.0 : 500.0, exponent)));
      }
      const float* frequency = frequency_.data() + static_cast<size_t>(table) * pairs;
      for (int32_t at = 0; at < max_positions_; ++at) {
        for (size_t i = 0; i < pairs; ++i) {
          const float angle = static_cast<float>(at) * frequency[i];
          cos_.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
          sin_.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
        }
      }
    }
  }
  // A key about `centre`, rotated to its position.
  std::vector<float> random_key(std::mt19937& random, const Row& row, const std::vector<float>& centre,
                                int32_t at) const {
    const size_t half = dim() / 2;
    std::vector<float> key = random_floats(random, dim(), DType::f32);
    for (size_t i = 0; i < dim(); ++i) key[i] = shape.spread * key[i] + centre[i];
    for (size_t i = 0; i < half; ++i) {
      const float c = cos_[rotation(row, at) + i];
      const float s = sin_[rotation(row, at) + i];
      const float low = key[i] * c - key[half + i] * s;
      const float high = key[half + i] * c + key[i] * s;
      key[i] = rounded(shape.dtype, low);
      key[half + i] = rounded(shape.dtype, high);
    }
    return key;
  }
  void scatter() {
    std::mt19937 random(11);
    pages_ = 3;
    for (const Row& row : rows) pages_ += pages_of(row);
    std::vector<int32_t> pages(static_cast<size_t>(pages_));
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), random);
    tables_.assign(rows.size() * static_cast<size_t>(stride_), -1);
    size_t taken = 0;
    for (const Row& row : rows) {
      for (int32_t page = 0; page < pages_of(row); ++page) {
        tables_[static_cast<size_t>(row.sequence * stride_ + page)] = pages[taken++];
      }
    }
    const auto states = static_cast<size_t>(shape.layers * pages_ * shape.kv_heads) * kPageSlots;
    kv.assign(states * 2 * dim(), std::numeric_limits<float>::quiet_NaN());
    pos.assign(states, -1);
    mass.assign(states, std::numeric_limits<float>::quiet_NaN());
    const auto staged = static_cast<size_t>(tokens_ * shape.kv_heads);
    k.assign(staged * dim(), std::numeric_limits<float>::quiet_NaN());
    v = random_floats(random, staged * dim(), shape.dtype);
    mass_new.assign(staged, std::numeric_limits<float>::quiet_NaN());
    for (const Row& row : rows) fill(random, row);
  }
  void fill(std::mt19937& random, const Row& row) {
    // Slots hold positions of before the block; in the other pools the block has been stored already.
    const int32_t stored = shape.pool == Pool::block ? row.position : last_position(row) + 1;
    std::vector<int32_t> positions(static_cast<size_t>(stored));
    std::uniform_real_distribution<float> uniform(0.0F, 2.0F);
    for (int32_t layer = 0; layer < shape.layers; ++layer) {
      for (int32_t head = 0; head < shape.kv_heads; ++head) {
        std::iota(positions.begin(), positions.end(), 0);
        std::mt19937 order(shape.same_positions ? 5 : random());
        std::shuffle(positions.begin(), positions.end(), order);
        const std::vector<float> centre = random_floats(random, dim(), DType::f32, 0.5F);
        for (int32_t slot = 0; slot < slots(row); ++slot) {
          const size_t state = state_at(row, layer, head, slot);
          pos[state] = positions[static_cast<size_t>(slot)];
          mass[state] = uniform(random);
          const auto key = random_key(random, row, centre, pos[state]);
          const auto value = random_floats(random, dim(), shape.dtype);
          const auto at = kv.begin() + static_cast<ptrdiff_t>(key_at(row, layer, head, slot));
          std::copy(key.begin(), key.end(), at);
          std::copy(value.begin(), value.end(), at + static_cast<ptrdiff_t>(kPageSlots * dim()));
        }
        if (layer + 1 < shape.layers) continue;
        for (int32_t i = 0; i < row.token_count; ++i) {
          const size_t at = staged_at(row, i, head);
          const auto key = random_key(random, row, centre, row.position + i);
          std::copy(key.begin(), key.end(), k.begin() + static_cast<ptrdiff_t>(at * dim()));
          mass_new[at] = uniform(random);
        }
      }
    }
  }

  std::vector<double> key_values(const Row& row, int32_t layer, int32_t head) const {
    const size_t half = dim() / 2;
    std::vector<std::vector<double>> keys;  // rotated back
    std::vector<double> mean(dim(), 0.0);
    for (int32_t i = 0; i < count(row); ++i) {
      const float* key = i < slots(row) ? &kv[key_at(row, layer, head, i)]
                                        : &k[staged_at(row, i - slots(row), head) * dim()];
      const size_t at = rotation(row, position(row, layer, head, i));
      std::vector<double> u(dim());
      for (size_t j = 0; j < half; ++j) {
        const auto c = static_cast<double>(cos_[at + j]);
        const auto s = static_cast<double>(sin_[at + j]);
        const auto low = static_cast<double>(key[j]);
        const auto high = static_cast<double>(key[half + j]);
        u[j] = low * c + high * s;
        u[half + j] = high * c - low * s;
      }
      for (size_t j = 0; j < dim(); ++j) mean[j] += u[j] / count(row);
      keys.push_back(std::move(u));
    }
    std::vector<double> all;
    for (const std::vector<double>& u : keys) {
      double squares = 0, dot = 0, norm = 0, mean_norm = 0;
      for (size_t j = 0; j < dim(); ++j) {
        squares += (u[j] - mean[j]) * (u[j] - mean[j]);
        dot += u[j] * mean[j];
        norm += u[j] * u[j];
        mean_norm += mean[j] * mean[j];
      }
      all.push_back(shape.score == Score::key_distance ? std::sqrt(squares)
                                                       : -dot / std::sqrt(norm * mean_norm));
    }
    return all;
  }

  std::vector<float> cos_, sin_, frequency_;
  std::vector<int32_t> tables_;
  int32_t tokens_ = 0;
  int32_t stride_ = 1;
  int32_t pages_ = 0;
  int32_t max_positions_ = 1;
};

}  // namespace batchmax::kernels::testing
