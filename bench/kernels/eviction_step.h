// A full cache at its budget, for either backend: rows whose slots lie scattered over positions up to four
// times their number, and blocks that come after. Protection as the defaults set it: four sinks and the last
// quarter of the budget.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/eviction/select.h"
#include "kernels/eviction/slot_write.h"

namespace batchmax::bench {

struct EvictionShape {
  kernels::DType dtype;
  int32_t head_dim;
  int32_t kv_heads;
  int32_t layers;
  int32_t rows;
  int32_t budget;
  int32_t tokens;  // of a block; 0: after a decode step
  std::string name() const {
    return std::string(name_of(dtype)) + "/D" + std::to_string(head_dim) + "/Hkv" + std::to_string(kv_heads) +
           "/L" + std::to_string(layers) + "/rows" + std::to_string(rows) + "/b" + std::to_string(budget) +
           (tokens > 0 ? "/C" + std::to_string(tokens) : "");
  }
};

class EvictionStep {
 public:
  // elements of normal deviates, in the backend's memory.
  using Random = std::function<kernels::Buffer(kernels::DType, size_t elements)>;

  EvictionStep(const kernels::Stream& stream, const EvictionShape& shape, kernels::Score score,
               const Random& random)
      : stream_(stream), shape_(shape) {
    using namespace kernels;
    const int32_t pages_each = shape.budget / kPageSlots;
    tables_.resize(static_cast<size_t>(pages_each * shape.rows));
    std::iota(tables_.begin(), tables_.end(), 0);
    std::shuffle(tables_.begin(), tables_.end(), std::mt19937(5));
    for (int32_t r = 0; r < shape.rows; ++r) rows_.push_back(row(r));
    const int32_t positions = kSpread * shape.budget + std::max(shape.tokens, 1);
    const auto pairs = static_cast<size_t>(positions) * static_cast<size_t>(shape.head_dim / 2);
    KvView& view = candidates_.kv;
    view.dtype = shape.dtype;
    view.layers = shape.layers;
    view.pages = static_cast<int32_t>(tables_.size());
    view.kv_heads = shape.kv_heads;
    view.head_dim = shape.head_dim;
    view.page_tables = static_cast<const int32_t*>(copy(tables_));
    view.table_stride = pages_each;
    const auto tiles = static_cast<size_t>(shape.layers * view.pages * shape.kv_heads);
    view.kv = keep(random(shape.dtype, tiles * view.tile_elements()));
    view.mass = static_cast<float*>(keep(random(DType::f32, tiles * kPageSlots)));
    view.pos = static_cast<int32_t*>(copy(slot_positions(view, pages_each)));
    candidates_.pool = shape.tokens > 0 ? Pool::block : Pool::slots;
    candidates_.score = score;
    candidates_.layer_count = shape.layers;
    candidates_.rows = {rows_.data(), static_cast<const Row*>(copy(rows_)), shape.rows};
    const int64_t t = std::max(1, shape.rows * shape.tokens);
    const auto staged = static_cast<size_t>(t * shape.kv_heads * shape.head_dim);
    k_ = Tensor(keep(random(shape.dtype, staged)), shape.dtype, {t, shape.kv_heads, shape.head_dim});
    v_ = Tensor(keep(random(shape.dtype, staged)), shape.dtype, {t, shape.kv_heads, shape.head_dim});
    mass_new_ = Tensor(keep(random(DType::f32, static_cast<size_t>(t * shape.kv_heads))), DType::f32,
                       {t, shape.kv_heads});
    candidates_.k = k_;
    candidates_.mass_new = mass_new_;
    candidates_.rope = rotations(positions, pairs);
    const int64_t pitch = shape.budget + shape.tokens;
    const size_t workspace =
        selection_workspace_bytes(stream, shape.layers, shape.rows, shape.kv_heads, pitch);
    selection_.candidates = candidates_;
    selection_.pitch = pitch;
    selection_.workspace = Tensor(space(workspace), DType::u8, {static_cast<int64_t>(workspace)});
    dest_ = Tensor(space(static_cast<size_t>(t * shape.kv_heads) * 4), DType::i32, {t, shape.kv_heads});
    queues_ = Tensor(space(static_cast<size_t>(shape.rows * shape.layers * shape.kv_heads * kVictims) * 4),
                     DType::i32, {shape.rows, shape.layers, shape.kv_heads, kVictims});
    stream.synchronize();
  }

  void select() const {
    shape_.tokens > 0 ? select_keep(stream_, selection_, dest_)
                      : select_victims(stream_, selection_, queues_);
  }
  void write() const {
    replace_slots(stream_, candidates_.kv, 0, candidates_.rows, {k_, v_, mass_new_}, dest_);
  }
  // Read once: keys for scores of keys, mass for `average`, positions always.
  double select_bytes() const {
    using kernels::Score;
    const double candidates =
        static_cast<double>(shape_.layers) * shape_.rows * shape_.kv_heads * (shape_.budget + shape_.tokens);
    const bool keys = candidates_.score == Score::key_distance || candidates_.score == Score::key_diff;
    const double key = keys ? shape_.head_dim * static_cast<double>(size_of(shape_.dtype)) : 0.0;
    return candidates * (4 + key + (needs_mass(candidates_.score) ? 4 : 0));
  }
  // Read and written, where all of the block survives: it is protected.
  double write_bytes() const {
    return 4.0 * shape_.rows * shape_.tokens * shape_.kv_heads * shape_.head_dim *
           static_cast<double>(size_of(shape_.dtype));
  }

 private:
  static constexpr int32_t kSpread = 4;
  static constexpr int32_t kVictims = 16;

  kernels::Row row(int32_t r) const {
    kernels::Row row{};
    row.sequence = r;
    row.resident = shape_.budget;
    row.token_begin = r * shape_.tokens;
    row.token_count = std::max(shape_.tokens, 1);
    row.position = kSpread * shape_.budget;
    row.queue_index = -1;
    row.keep = shape_.budget;
    row.victims = shape_.tokens > 0 ? 0 : kVictims;
    row.sinks = 4;
    row.recent = shape_.budget / 4;
    row.seed = static_cast<uint64_t>(r) + 1;
    return row;
  }
  // Slot s holds one of the positions [4 s, 4 s + 4).
  std::vector<int32_t> slot_positions(const kernels::KvView& view, int32_t pages_each) const {
    constexpr int32_t kSlots = kernels::kPageSlots;
    std::vector<int32_t> pos(static_cast<size_t>(view.layers * view.pages * view.kv_heads) * kSlots);
    std::mt19937 random(7);
    for (int32_t layer = 0; layer < view.layers; ++layer) {
      for (size_t entry = 0; entry < tables_.size(); ++entry) {
        const int32_t first = static_cast<int32_t>(entry) % pages_each * kSlots;
        for (int32_t head = 0; head < view.kv_heads; ++head) {
          int32_t* to = &pos[view.tile_index(layer, tables_[entry], head) * kSlots];
          for (int32_t s = 0; s < kSlots; ++s)
            to[s] = kSpread * (first + s) + static_cast<int32_t>(random() % kSpread);
        }
      }
    }
    return pos;
  }
  kernels::RopeTable rotations(int32_t positions, size_t pairs) {
    std::vector<float> cosines, sines, frequencies;
    cosines.reserve(pairs);
    sines.reserve(pairs);
    for (int32_t i = 0; i < shape_.head_dim / 2; ++i)
      frequencies.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / shape_.head_dim)));
    for (int32_t at = 0; at < positions; ++at) {
      for (const float frequency : frequencies) {
        const float angle = static_cast<float>(at) * frequency;
        cosines.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
        sines.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
      }
    }
    return {static_cast<const float*>(copy(cosines)), static_cast<const float*>(copy(sines)), positions,
            static_cast<const float*>(copy(frequencies))};
  }
  void* keep(kernels::Buffer buffer) {
    buffers_.push_back(std::move(buffer));
    return buffers_.back().data();
  }
  void* space(size_t bytes) { return keep(kernels::Buffer(stream_, std::max<size_t>(bytes, 1))); }
  template <typename T>
  void* copy(const std::vector<T>& values) {
    void* to = space(values.size() * sizeof(T));
    upload(stream_, to, values.data(), values.size() * sizeof(T));
    stream_.synchronize();
    return to;
  }

  const kernels::Stream& stream_;
  EvictionShape shape_;
  std::vector<kernels::Buffer> buffers_;
  std::vector<int32_t> tables_;
  std::vector<kernels::Row> rows_;
  kernels::Candidates candidates_;
  kernels::Selection selection_;
  kernels::Tensor k_, v_, mass_new_, dest_, queues_;
};

}  // namespace batchmax::bench
