// A random cache, rows and staging for the attention ops, and what the formulas say they must give. Slots
// that no row may read hold NaN, so that reading one spoils the result.
#pragma once

#include <limits>
#include <numeric>

#include "kernels/attention/cpu/attention.h"
#include "kernels/attention/cuda/attention.h"
#include "tests/kernels/on_backend.h"
#include "tests/support/reference_attention.h"

namespace batchmax::kernels::testing {

// The public op on any backend, or the CPU's with one instruction set, or CUDA's of older devices.
struct Level {
  const char* name;
  bool any_backend;
  cpu::Isa isa;
  bool mma_sync = false;  // cuda: prefill attention and mass as on devices that are not Hopper
};
inline std::vector<Level> levels(Backend backend) {
  std::vector<Level> found{{"dispatch", true, cpu::Isa::baseline}};
  if (backend != Backend::cpu) {
    found.push_back({"mma.sync", true, cpu::Isa::baseline, true});
    return found;
  }
  const Level all[] = {{"baseline", false, cpu::Isa::baseline},
                       {"avx2", false, cpu::Isa::avx2},
                       {"avx512", false, cpu::Isa::avx512},
                       {"avx512_bf16", false, cpu::Isa::avx512_bf16},
                       {"amx_bf16", false, cpu::Isa::amx_bf16}};
  for (const Level& level : all) {
    if (level.isa <= cpu::best_isa()) found.push_back(level);
  }
  return found;
}

struct SceneShape {
  DType q = DType::f32;
  DType kv = DType::f32;
  int32_t head_dim = 64;
  int32_t group = 1;
  int32_t kv_heads = 2;
  struct Sequence {
    int32_t slots;
    int32_t tokens;
  };
  std::vector<Sequence> sequences;  // one row each
  std::string describe() const {
    return std::string("q ") + name_of(q) + ", kv " + name_of(kv) + ", D " + std::to_string(head_dim) +
           ", g " + std::to_string(group);
  }
};

class Scene {
 public:
  static constexpr int32_t kLayers = 2;
  static constexpr int32_t kLayer = 1;
  static constexpr float kOldMass = 3.0F;

  // `page_seed` scatters the sequences over the pages and changes nothing else.
  Scene(const Stream& stream, const SceneShape& of, uint32_t page_seed = 1) : shape(of), stream_(stream) {
    std::mt19937 random(7);
    for (const auto& [slots, tokens] : shape.sequences) {
      Row row{};
      row.sequence = static_cast<int32_t>(rows_.size());
      row.resident = slots;
      row.token_begin = tokens_ + 1;  // a token of nobody between the rows
      row.token_count = tokens;
      row.position = slots + 100;
      row.queue_index = 0;
      tokens_ = row.token_begin + tokens;
      rows_.push_back(row);
      stride_ = std::max(stride_, (slots + kPageSlots - 1) / kPageSlots + 1);
    }
    ++tokens_;
    const auto heads = static_cast<size_t>(shape.kv_heads * shape.group);
    q = random_floats(random, static_cast<size_t>(tokens_) * heads * dim(), shape.q);
    k = random_floats(random, static_cast<size_t>(tokens_ * shape.kv_heads) * dim(), shape.kv);
    v = random_floats(random, static_cast<size_t>(tokens_ * shape.kv_heads) * dim(), shape.kv);
    scatter(random, page_seed);
  }

  const Row& row(size_t i) const { return rows_[i]; }
  size_t rows() const { return rows_.size(); }
  int32_t tokens() const { return tokens_; }
  int32_t query_heads() const { return shape.kv_heads * shape.group; }
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(shape.head_dim)); }
  size_t dim() const { return static_cast<size_t>(shape.head_dim); }
  // First element of the slot's key in kv; its value lies kPageSlots · D further.
  size_t key_at(const Row& row, int32_t head, int32_t slot) const {
    return tile(row, head, slot) * 2 * kPageSlots * dim() + static_cast<size_t>(slot % kPageSlots) * dim();
  }
  size_t state_at(const Row& row, int32_t head, int32_t slot) const {
    return tile(row, head, slot) * kPageSlots + static_cast<size_t>(slot % kPageSlots);
  }
  const float* query(int32_t token, int32_t head) const {
    return q.data() + static_cast<size_t>(token * query_heads() + head) * dim();
  }
  // A query over the resident slots and the first `staged` tokens of the row's block.
  batchmax::testing::ReferenceAttention reference(const Row& row, int32_t token, int32_t query_head,
                                                  int32_t staged) const {
    const int32_t head = query_head / shape.group;
    std::vector<const float*> keys, values;
    for (int32_t slot = 0; slot < row.resident; ++slot) {
      keys.push_back(kv.data() + key_at(row, head, slot));
      values.push_back(keys.back() + kPageSlots * dim());
    }
    for (int32_t i = 0; i < staged; ++i) {
      const size_t at = static_cast<size_t>((row.token_begin + i) * shape.kv_heads + head) * dim();
      keys.push_back(k.data() + at);
      values.push_back(v.data() + at);
    }
    return batchmax::testing::reference_attention(query(token, query_head), keys, values, shape.head_dim,
                                                  scale());
  }

  // The scene on its backend. A Loaded outlives what it hands out.
  struct Loaded {
    Array q, k, v, kv, pos, mass, tables;
    Values<Row> rows;
    Array out, lse, mass_new, workspace;
    KvView view;
    Rows span() const { return {rows.host(), rows.data(), static_cast<int32_t>(rows.size())}; }
  };
  Loaded load() const {
    const int64_t t = tokens_;
    const int64_t d = shape.head_dim;
    const int64_t hq = query_heads();
    const int64_t hkv = shape.kv_heads;
    const auto n = static_cast<int64_t>(kv.size());
    const auto s = static_cast<int64_t>(pos.size());
    // One row more than there are: tests add padding.
    const auto w =
        static_cast<int64_t>(decode_workspace_bytes(stream_, static_cast<int64_t>(rows()) + 1, hq, d));
    const auto nan = std::numeric_limits<float>::quiet_NaN();
    Loaded on{Array::of_floats(stream_, shape.q, q, {t, hq, d}),
              Array::of_floats(stream_, shape.kv, k, {t, hkv, d}),
              Array::of_floats(stream_, shape.kv, v, {t, hkv, d}),
              Array::of_floats(stream_, shape.kv, kv, {n}),
              Array(stream_, pos, {s}),
              Array(stream_, mass, {s}),
              Array(stream_, tables_, {static_cast<int64_t>(tables_.size())}),
              Values<Row>(stream_, rows_),
              Array::of_floats(stream_, shape.q,
                               std::vector<float>(static_cast<size_t>(t * hq * d), kUntouched), {t, hq, d}),
              Array(stream_, std::vector<float>(static_cast<size_t>(t * hq), kUntouched), {t, hq}),
              Array(stream_, std::vector<float>(static_cast<size_t>(t * hkv), kUntouched), {t, hkv}),
              Array(stream_, std::vector<float>(static_cast<size_t>(w / 4), nan), {w / 4}),
              {}};
    on.view.kv = on.kv.tensor().data();
    on.view.pos = on.pos.tensor().as<int32_t>();
    on.view.mass = on.mass.tensor().as<float>();
    on.view.dtype = shape.kv;
    on.view.layers = kLayers;
    on.view.pages = pages_;
    on.view.kv_heads = shape.kv_heads;
    on.view.head_dim = shape.head_dim;
    on.view.page_tables = on.tables.tensor().as<int32_t>();
    on.view.table_stride = stride_;
    return on;
  }
  static constexpr float kUntouched = 123.0F;

  void prefill_attention(const Loaded& on, const Level& level) const {
    prefill_attention(on, level, on.span());
  }
  void prefill_attention(const Loaded& on, const Level& level, const Rows& of_rows) const {
    const PrefillAttention args{
        on.q.tensor(),   on.k.tensor(),  on.v.tensor(), on.view, kLayer, of_rows, static_cast<float>(scale()),
        on.out.tensor(), on.lse.tensor()};
    if constexpr (kCudaBuilt) {
      if (level.mma_sync) return cuda::prefill_attention_mma_sync(stream_, args);
    }
    level.any_backend ? kernels::prefill_attention(stream_, args) : cpu::prefill_attention(args, level.isa);
  }
  void prefill_mass(const Loaded& on, const Level& level) const {
    const PrefillMass args{on.q.tensor(),
                           on.lse.tensor(),
                           on.k.tensor(),
                           on.view,
                           kLayer,
                           on.span(),
                           static_cast<float>(scale()),
                           on.mass_new.tensor()};
    if constexpr (kCudaBuilt) {
      if (level.mma_sync) return cuda::prefill_mass_mma_sync(stream_, args);
    }
    level.any_backend ? kernels::prefill_mass(stream_, args) : cpu::prefill_mass(args, level.isa);
  }
  DecodeAttention decode_args(const Loaded& on, const Rows& of_rows) const {
    const Tensor workspace(on.workspace.tensor().data(), DType::u8,
                           {static_cast<int64_t>(on.workspace.tensor().bytes())});
    return {on.q.tensor(), on.view, kLayer, of_rows, static_cast<float>(scale()), on.out.tensor(), workspace};
  }
  void decode(const Loaded& on, const Level& level, bool with_mass) const {
    decode(on, level, with_mass, on.span());
  }
  void decode(const Loaded& on, const Level& level, bool with_mass, const Rows& of_rows) const {
    const DecodeAttention args = decode_args(on, of_rows);
    if (!level.any_backend) return cpu::decode_attention(args, with_mass, level.isa);
    with_mass ? decode_attention_mass(stream_, args) : decode_attention(stream_, args);
  }

  SceneShape shape;
  std::vector<float> q, k, v;  // [T, heads, D]
  std::vector<float> kv;       // as KvView lays it out
  std::vector<int32_t> pos;
  std::vector<float> mass;

 private:
  size_t tile(const Row& row, int32_t head, int32_t slot) const {
    const auto entry = static_cast<size_t>(row.sequence * stride_ + slot / kPageSlots);
    return static_cast<size_t>((kLayer * pages_ + tables_[entry]) * shape.kv_heads + head);
  }
  void scatter(std::mt19937& random, uint32_t page_seed) {
    for (const Row& row : rows_)
      pages_ += 2 * ((row.resident + kPageSlots - 1) / kPageSlots);  // half stay unused
    std::vector<int32_t> pages(static_cast<size_t>(pages_));
    std::iota(pages.begin(), pages.end(), 0);
    std::mt19937 page_random(page_seed);
    std::shuffle(pages.begin(), pages.end(), page_random);
    tables_.assign(rows() * static_cast<size_t>(stride_), -1);  // -1: a table entry past the sequence's pages
    size_t taken = 0;
    for (const Row& row : rows_) {
      for (int32_t page = 0; page * kPageSlots < row.resident; ++page) {
        tables_[static_cast<size_t>(row.sequence * stride_ + page)] = pages[taken++];
      }
    }
    const auto slots = static_cast<size_t>(kLayers * pages_ * shape.kv_heads * kPageSlots);
    kv.assign(slots * 2 * dim(), std::numeric_limits<float>::quiet_NaN());
    pos.assign(slots, -1);
    mass.assign(slots, kOldMass);
    for (const Row& row : rows_) {
      for (int32_t head = 0; head < shape.kv_heads; ++head) {
        for (int32_t slot = 0; slot < row.resident; ++slot) {
          const auto key = random_floats(random, dim(), shape.kv);
          const auto value = random_floats(random, dim(), shape.kv);
          std::copy(key.begin(), key.end(), kv.begin() + static_cast<ptrdiff_t>(key_at(row, head, slot)));
          std::copy(value.begin(), value.end(),
                    kv.begin() + static_cast<ptrdiff_t>(key_at(row, head, slot) + kPageSlots * dim()));
          pos[state_at(row, head, slot)] = own_slot(row) == slot ? row.position : slot;
        }
      }
    }
  }

 public:
  // Where decode finds its own token: anywhere, as after a replacement.
  static int32_t own_slot(const Row& row) { return row.resident * 2 / 3; }

 private:
  const Stream& stream_;
  std::vector<Row> rows_;
  std::vector<int32_t> tables_;
  int32_t tokens_ = 0;
  int32_t stride_ = 1;
  int32_t pages_ = 1;
};

// fp32 all the way: rounding of sums of a few hundred terms. bf16 anywhere in q: out, and on some machines
// the probabilities, are rounded to 8 bits.
inline double out_tolerance(const SceneShape& shape) { return shape.q == DType::bf16 ? 1.5e-2 : 2e-5; }

}  // namespace batchmax::kernels::testing
