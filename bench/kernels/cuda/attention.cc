// Attention in bf16 at the shapes of three models, pages scattered over a pool. Decode is held against copy
// bandwidth (bytes of K and V), prefill and its mass by their rate: the products of the unmasked part only.
#include "kernels/core/kv_view.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "bench/kernels/cuda/families.h"
#include "kernels/attention/cuda/attention.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/prefill_mass.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

constexpr DType kType = DType::bf16;

struct Shape {
  const char* model;
  int32_t head_dim;
  int32_t kv_heads;
  int32_t group;
  int32_t rows;
  int32_t slots;
  int32_t tokens;
  std::string name() const {
    return std::string("/") + model + "/rows" + std::to_string(rows) + "/slots" + std::to_string(slots) +
           (tokens > 1 ? "/C" + std::to_string(tokens) : "");
  }
};

class Step {
 public:
  Step(const Stream& stream, const Shape& shape) : stream_(stream), shape_(shape) {
    const int32_t pages_each = (shape.slots + kPageSlots - 1) / kPageSlots;
    const int64_t t = static_cast<int64_t>(shape.rows) * shape.tokens;
    const int64_t hq = static_cast<int64_t>(shape.kv_heads) * shape.group;
    std::vector<int32_t> tables(static_cast<size_t>(pages_each * shape.rows));
    std::iota(tables.begin(), tables.end(), 0);
    std::shuffle(tables.begin(), tables.end(), std::mt19937(5));
    for (int32_t r = 0; r < shape.rows; ++r) {
      Row row{};
      row.sequence = r;
      row.resident = shape.slots;
      row.token_begin = r * shape.tokens;
      row.token_count = shape.tokens;
      row.position = shape.slots;
      rows_.push_back(row);
    }
    view_.dtype = kType;
    view_.layers = 1;
    view_.pages = static_cast<int32_t>(tables.size());
    view_.kv_heads = shape.kv_heads;
    view_.head_dim = shape.head_dim;
    view_.page_tables = static_cast<const int32_t*>(copy(tables));
    view_.table_stride = pages_each;
    const size_t tiles = tables.size() * static_cast<size_t>(shape.kv_heads);
    view_.kv = random(tiles * view_.tile_elements());
    view_.pos = static_cast<int32_t*>(zeros(tiles * kPageSlots * sizeof(int32_t)));
    view_.mass = static_cast<float*>(zeros(tiles * kPageSlots * sizeof(float)));
    device_rows_ = static_cast<const Row*>(copy(rows_));
    const int64_t d = shape.head_dim;
    const auto staging = static_cast<size_t>(t * shape.kv_heads * d);
    q_ = Tensor(random(static_cast<size_t>(t * hq * d)), kType, {t, hq, d});
    k_ = Tensor(random(staging), kType, {t, shape.kv_heads, d});
    v_ = Tensor(random(staging), kType, {t, shape.kv_heads, d});
    out_ = Tensor(zeros(static_cast<size_t>(t * hq * d) * 2), kType, {t, hq, d});
    lse_ = Tensor(zeros(static_cast<size_t>(t * hq) * 4), DType::f32, {t, hq});
    mass_new_ = Tensor(zeros(static_cast<size_t>(t * shape.kv_heads) * 4), DType::f32, {t, shape.kv_heads});
    const size_t workspace = decode_workspace_bytes(stream_, shape.rows, hq, d);
    workspace_ = Tensor(zeros(workspace), DType::u8, {static_cast<int64_t>(workspace)});
    stream.synchronize();
  }

  void prefill(bool mma_sync) const {
    const PrefillAttention args{q_, k_, v_, view_, 0, rows(), scale(), out_, lse_};
    mma_sync ? cuda::prefill_attention_mma_sync(stream_, args) : prefill_attention(stream_, args);
  }
  void mass(bool mma_sync) const {
    const PrefillMass args{q_, lse_, k_, view_, 0, rows(), scale(), mass_new_};
    mma_sync ? cuda::prefill_mass_mma_sync(stream_, args) : prefill_mass(stream_, args);
  }
  DecodeAttention decode() const { return {q_, view_, 0, rows(), scale(), out_, workspace_}; }
  double kv_bytes() const { return 2.0 * shape_.rows * shape_.kv_heads * shape_.slots * shape_.head_dim * 2; }
  // Of one of the two products.
  double product_flops() const {
    const double pairs = shape_.tokens * (shape_.slots + (shape_.tokens + 1) / 2.0);
    return 2.0 * shape_.rows * shape_.kv_heads * shape_.group * pairs * shape_.head_dim;
  }

 private:
  Rows rows() const { return {rows_.data(), device_rows_, static_cast<int32_t>(rows_.size())}; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape_.head_dim)); }
  void* random(size_t elements) {
    buffers_.push_back(random_memory(stream_, kType, elements));
    return buffers_.back().data();
  }
  void* zeros(size_t bytes) {
    buffers_.emplace_back(stream_, bytes);
    fill_zero(stream_, buffers_.back().data(), bytes);
    return buffers_.back().data();
  }
  template <typename T>
  void* copy(const std::vector<T>& values) {
    buffers_.emplace_back(stream_, values.size() * sizeof(T));
    upload(stream_, buffers_.back().data(), values.data(), values.size() * sizeof(T));
    stream_.synchronize();
    return buffers_.back().data();
  }

  const Stream& stream_;
  Shape shape_;
  std::vector<Buffer> buffers_;
  std::vector<Row> rows_;
  const Row* device_rows_ = nullptr;
  KvView view_;
  Tensor q_, k_, v_, out_, lse_, mass_new_, workspace_;
};

// One set: K and V alone are several times the L2 cache.
Case decode_case(const Stream& stream, const DeviceFloor& floor, const Shape& shape, bool with_mass,
                 cuda::DecodeCut cut) {
  auto step = std::make_shared<Step>(stream, shape);
  Case made;
  made.bytes = step->kv_bytes();
  made.floor = floor.copy_bytes;
  made.work = [&stream, step, with_mass, cut](int) {
    cuda::decode_attention(stream, step->decode(), with_mass, cut);
  };
  return made;
}

Case prefill_case(const Stream& stream, const Shape& shape, bool mma_sync) {
  auto step = std::make_shared<Step>(stream, shape);
  Case made;
  made.flops = 2 * step->product_flops();
  made.work = [step, mma_sync](int) { step->prefill(mma_sync); };
  return made;
}

Case mass_case(const Stream& stream, const Shape& shape, bool mma_sync) {
  auto step = std::make_shared<Step>(stream, shape);
  step->prefill(false);
  Case made;
  made.flops = step->product_flops();
  made.work = [step, mma_sync](int) { step->mass(mma_sync); };
  return made;
}

}  // namespace

void register_attention(const Stream& stream, const DeviceFloor& floor) {
  const Shape models[] = {{"Llama-2-13B", 128, 40, 1, 0, 0, 1},
                          {"Phi-3.5", 96, 32, 1, 0, 0, 1},
                          {"Llama-3-8B", 128, 8, 4, 0, 0, 1}};
  for (Shape shape : models) {
    for (const auto& [rows, slots] : {std::pair{128, 1024}, std::pair{16, 1024}, std::pair{16, 8192}}) {
      shape.rows = rows;
      shape.slots = slots;
      const auto add = [&](const char* name, bool with_mass, cuda::DecodeCut cut) {
        register_case(name + shape.name(), stream, [&stream, &floor, shape, with_mass, cut] {
          return decode_case(stream, floor, shape, with_mass, cut);
        });
      };
      add("decode_attention_mass", true, cuda::DecodeCut::whole);
      add("decode_attention/whole", false, cuda::DecodeCut::whole);
      // The workspace holds no more than the op would cut.
      if (rows * shape.kv_heads < 256) add("decode_attention/pieces", false, cuda::DecodeCut::pieces);
    }
    shape.slots = 1024;
    shape.tokens = 256;
    for (const int32_t rows : {4, 16}) {
      shape.rows = rows;
      for (const bool mma_sync : {false, true}) {
        const std::string kind = (mma_sync ? "/mma_sync" : "") + shape.name();
        register_case("prefill_attention" + kind, stream,
                      [&stream, shape, mma_sync] { return prefill_case(stream, shape, mma_sync); });
        register_case("prefill_mass" + kind, stream,
                      [&stream, shape, mma_sync] { return mass_case(stream, shape, mma_sync); });
      }
    }
  }
}

}  // namespace batchmax::bench
