// Attention over random keys, values and queries, pages scattered over a pool. Decode is held against read
// bandwidth (bytes of K and V), prefill and its mass against oneDNN's matmul of the same dtype (the two
// products, of the unmasked part only).
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "bench/kernels/families.h"
#include "kernels/attention/decode_attention.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/prefill_mass.h"
#include "kernels/core/buffer.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

struct Shape {
  DType dtype;
  int32_t head_dim;
  int32_t kv_heads;
  int32_t group;
  int32_t rows;
  int32_t slots;
  int32_t tokens;
  std::string name() const {
    return std::string(name_of(dtype)) + "/D" + std::to_string(head_dim) + "/Hkv" + std::to_string(kv_heads) +
           "/g" + std::to_string(group) + "/rows" + std::to_string(rows) + "/slots" + std::to_string(slots) +
           (tokens > 1 ? "/C" + std::to_string(tokens) : "");
  }
};

// Values repeat after a prime number of elements: enough to be random to the kernels, quick to make.
void fill(const Buffer& buffer, DType dtype, size_t elements) {
  constexpr size_t kPeriod = 65521;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(kPeriod);
  for (float& value : values) value = normal(random);
  for (size_t i = 0; i < elements; ++i) {
    if (dtype == DType::bf16) {
      static_cast<bf16*>(buffer.data())[i] = to_bf16(values[i % kPeriod]);
    } else {
      static_cast<float*>(buffer.data())[i] = values[i % kPeriod];
    }
  }
}

class Step {
 public:
  explicit Step(const Shape& shape) : shape_(shape), stream_(Stream::cpu()) {
    const int32_t pages_each = (shape.slots + kPageSlots - 1) / kPageSlots;
    const int64_t t = static_cast<int64_t>(shape.rows) * shape.tokens;
    const int64_t hq = static_cast<int64_t>(shape.kv_heads) * shape.group;
    tables_.resize(static_cast<size_t>(pages_each * shape.rows));
    std::iota(tables_.begin(), tables_.end(), 0);
    std::shuffle(tables_.begin(), tables_.end(), std::mt19937(5));
    for (int32_t r = 0; r < shape.rows; ++r) {
      Row row{};
      row.sequence = r;
      row.resident = shape.slots;
      row.token_begin = r * shape.tokens;
      row.token_count = shape.tokens;
      row.position = shape.slots;
      rows_.push_back(row);
    }
    view_.dtype = shape.dtype;
    view_.layers = 1;
    view_.pages = static_cast<int32_t>(tables_.size());
    view_.kv_heads = shape.kv_heads;
    view_.head_dim = shape.head_dim;
    view_.page_tables = tables_.data();
    view_.table_stride = pages_each;
    const size_t tiles = tables_.size() * static_cast<size_t>(shape.kv_heads);
    view_.kv = random(shape.dtype, tiles * view_.tile_elements());
    view_.pos = static_cast<int32_t*>(zeros(tiles * kPageSlots * sizeof(int32_t)));
    view_.mass = static_cast<float*>(zeros(tiles * kPageSlots * sizeof(float)));
    const int64_t d = shape.head_dim;
    const auto staging = static_cast<size_t>(t * shape.kv_heads * d);
    q_ = Tensor(random(shape.dtype, static_cast<size_t>(t * hq * d)), shape.dtype, {t, hq, d});
    k_ = Tensor(random(shape.dtype, staging), shape.dtype, {t, shape.kv_heads, d});
    v_ = Tensor(random(shape.dtype, staging), shape.dtype, {t, shape.kv_heads, d});
    out_ = Tensor(random(shape.dtype, static_cast<size_t>(t * hq * d)), shape.dtype, {t, hq, d});
    lse_ = Tensor(zeros(static_cast<size_t>(t * hq) * 4), DType::f32, {t, hq});
    mass_new_ = Tensor(zeros(static_cast<size_t>(t * shape.kv_heads) * 4), DType::f32, {t, shape.kv_heads});
    const size_t workspace = decode_workspace_bytes(stream_, shape.rows, hq, d);
    workspace_ = Tensor(zeros(workspace), DType::u8, {static_cast<int64_t>(workspace)});
  }

  void prefill() const { prefill_attention(stream_, {q_, k_, v_, view_, 0, span(), scale(), out_, lse_}); }
  void mass() const { prefill_mass(stream_, {q_, lse_, k_, view_, 0, span(), scale(), mass_new_}); }
  void decode(bool with_mass) const {
    const DecodeAttention args{q_, view_, 0, span(), scale(), out_, workspace_};
    with_mass ? decode_attention_mass(stream_, args) : decode_attention(stream_, args);
  }
  double kv_bytes() const {
    return 2.0 * shape_.rows * shape_.kv_heads * shape_.slots * shape_.head_dim *
           static_cast<double>(size_of(shape_.dtype));
  }
  // Of one of the two products.
  double product_flops() const {
    const double pairs = shape_.tokens * (shape_.slots + (shape_.tokens + 1) / 2.0);
    return 2.0 * shape_.rows * shape_.kv_heads * shape_.group * pairs * shape_.head_dim;
  }

 private:
  Rows span() const { return {rows_.data(), rows_.data(), static_cast<int32_t>(rows_.size())}; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape_.head_dim)); }
  void* random(DType dtype, size_t elements) {
    buffers_.emplace_back(stream_, elements * size_of(dtype));
    fill(buffers_.back(), dtype, elements);
    return buffers_.back().data();
  }
  void* zeros(size_t bytes) {
    buffers_.emplace_back(stream_, bytes);
    fill_zero(stream_, buffers_.back().data(), bytes);
    return buffers_.back().data();
  }

  Shape shape_;
  Stream stream_;
  std::vector<Buffer> buffers_;
  std::vector<int32_t> tables_;
  std::vector<Row> rows_;
  KvView view_;
  Tensor q_, k_, v_, out_, lse_, mass_new_, workspace_;
};

void register_one(const std::string& name, void (*body)(benchmark::State&, const Shape&, const Floor&),
                  const Shape& shape, const Floor& floor) {
  benchmark::RegisterBenchmark((name + "/" + shape.name()).c_str(),
                               [body, shape, floor](benchmark::State& state) { body(state, shape, floor); })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

void decode(benchmark::State& state, const Shape& shape, const Floor& floor, bool with_mass) {
  const Step step(shape);
  const double seconds = seconds_each(state, [&] { step.decode(with_mass); });
  report_bytes(state, step.kv_bytes() / seconds, floor.read_bytes);
}
void decode_plain(benchmark::State& state, const Shape& shape, const Floor& floor) {
  decode(state, shape, floor, false);
}
void decode_mass(benchmark::State& state, const Shape& shape, const Floor& floor) {
  decode(state, shape, floor, true);
}
double matmul_floor(DType dtype, const Floor& floor) {
  return dtype == DType::bf16 ? floor.bf16_flops : floor.f32_flops;
}
void prefill(benchmark::State& state, const Shape& shape, const Floor& floor) {
  const Step step(shape);
  const double seconds = seconds_each(state, [&] { step.prefill(); });
  report_flops(state, 2 * step.product_flops() / seconds, matmul_floor(shape.dtype, floor));
}
void mass(benchmark::State& state, const Shape& shape, const Floor& floor) {
  const Step step(shape);
  step.prefill();
  const double seconds = seconds_each(state, [&] { step.mass(); });
  report_flops(state, step.product_flops() / seconds, matmul_floor(shape.dtype, floor));
}

}  // namespace

void register_attention(const Floor& floor) {
  // 128 MiB of K and V or more: in no cache.
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const int32_t group : {1, 2, 4, 8}) {
      for (const int32_t head_dim : {64, 128}) {
        const Shape shape{dtype, head_dim, 8, group, 8192 / head_dim, 512, 1};
        register_one("decode_attention", decode_plain, shape, floor);
        register_one("decode_attention_mass", decode_mass, shape, floor);
      }
    }
    register_one("decode_attention", decode_plain, {dtype, 128, 8, 4, 1, 32768, 1}, floor);
  }
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const int32_t head_dim : {64, 96, 128}) {
      for (const int32_t group : {1, 2, 4}) {
        const Shape shape{dtype, head_dim, 8, group, 1, 1024, 256};
        register_one("prefill_attention", prefill, shape, floor);
        register_one("prefill_mass", mass, shape, floor);
      }
    }
  }
}

}  // namespace batchmax::bench
