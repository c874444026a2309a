// Norm, rotation and activation at the widths of Llama-2-13B, against copy bandwidth: all of them only move
// memory.
#include <memory>
#include <vector>

#include "bench/kernels/cuda/families.h"
#include "kernels/transform/rms_norm.h"
#include "kernels/transform/rope_stage.h"
#include "kernels/transform/silu_mul.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

constexpr DType kType = DType::bf16;

// A tensor of random values per set.
class Tensors {
 public:
  Tensors(const Stream& stream, int sets, int64_t rows, int64_t columns)
      : rows_(rows),
        columns_(columns),
        memory_(random_memory(stream, kType, static_cast<size_t>(sets * rows * columns))) {}
  Tensor at(int set) const {
    const int64_t first = set * rows_ * columns_;
    return Tensor(static_cast<bf16*>(memory_.data()) + first, kType, {rows_, columns_});
  }

 private:
  int64_t rows_, columns_;
  Buffer memory_;
};

Case moving(const Stream& stream, const DeviceFloor& floor, double bytes) {
  Case made;
  made.bytes = bytes;
  made.floor = floor.copy_bytes;
  made.sets = rotating_sets(stream, bytes);
  return made;
}

Case add_rms_norm_case(const Stream& stream, const DeviceFloor& floor, int64_t tokens, int64_t d) {
  Case made = moving(stream, floor, 4.0 * static_cast<double>(tokens * d) * 2);
  struct Memory {
    Tensors residual, delta, weight, out;
  };
  auto memory = std::make_shared<Memory>(Memory{{stream, made.sets, tokens, d},
                                                {stream, made.sets, tokens, d},
                                                {stream, 1, 1, d},
                                                {stream, made.sets, tokens, d}});
  made.work = [&stream, memory, d](int set) {
    const Tensor weight(memory->weight.at(0).data(), kType, {d});
    add_rms_norm(stream, memory->residual.at(set), memory->delta.at(set), weight, 1e-5F, memory->out.at(set));
  };
  return made;
}

Case silu_mul_case(const Stream& stream, const DeviceFloor& floor, int64_t tokens, int64_t width) {
  Case made = moving(stream, floor, 3.0 * static_cast<double>(tokens * width) * 2);
  struct Memory {
    Tensors gate_up, out;
  };
  auto memory = std::make_shared<Memory>(
      Memory{{stream, made.sets, tokens, 2 * width}, {stream, made.sets, tokens, width}});
  made.work = [&stream, memory](int set) { silu_mul(stream, memory->gate_up.at(set), memory->out.at(set)); };
  return made;
}

Case rope_stage_case(const Stream& stream, const DeviceFloor& floor, int64_t tokens, int64_t q_heads,
                     int64_t kv_heads, int64_t head_dim) {
  const int64_t width = (q_heads + 2 * kv_heads) * head_dim;
  Case made = moving(stream, floor, 2.0 * static_cast<double>(tokens * width) * 2);
  struct Memory {
    Tensors qkv, q, k, v;
    Buffer positions, tables, cos, sin;
  };
  const auto bytes = static_cast<size_t>(tokens) * sizeof(int32_t);
  const auto angles = static_cast<size_t>(tokens * head_dim / 2);
  auto memory = std::make_shared<Memory>(Memory{{stream, made.sets, tokens, width},
                                                {stream, made.sets, tokens, q_heads * head_dim},
                                                {stream, made.sets, tokens, kv_heads * head_dim},
                                                {stream, made.sets, tokens, kv_heads * head_dim},
                                                Buffer(stream, bytes),
                                                Buffer(stream, bytes),
                                                random_memory(stream, DType::f32, angles),
                                                random_memory(stream, DType::f32, angles)});
  std::vector<int32_t> positions;
  for (int32_t t = 0; t < tokens; ++t) positions.push_back(t);
  upload(stream, memory->positions.data(), positions.data(), bytes);
  fill_zero(stream, memory->tables.data(), bytes);
  stream.synchronize();
  made.work = [&stream, memory, tokens, q_heads, kv_heads, head_dim](int set) {
    RopeStage stage;
    stage.qkv = memory->qkv.at(set);
    stage.positions = Tensor(memory->positions.data(), DType::i32, {tokens});
    stage.tables = Tensor(memory->tables.data(), DType::i32, {tokens});
    stage.rope = {static_cast<const float*>(memory->cos.data()),
                  static_cast<const float*>(memory->sin.data()), static_cast<int32_t>(tokens)};
    stage.q = Tensor(memory->q.at(set).data(), kType, {tokens, q_heads, head_dim});
    stage.k = Tensor(memory->k.at(set).data(), kType, {tokens, kv_heads, head_dim});
    stage.v = Tensor(memory->v.at(set).data(), kType, {tokens, kv_heads, head_dim});
    rope_stage(stream, stage);
  };
  return made;
}

}  // namespace

void register_transform(const Stream& stream, const DeviceFloor& floor) {
  for (const int64_t tokens : {64, 4096}) {
    const std::string suffix = "/tokens" + std::to_string(tokens);
    register_case("add_rms_norm/d5120" + suffix, stream,
                  [&stream, &floor, tokens] { return add_rms_norm_case(stream, floor, tokens, 5120); });
    register_case("silu_mul/F13824" + suffix, stream,
                  [&stream, &floor, tokens] { return silu_mul_case(stream, floor, tokens, 13824); });
    register_case("rope_stage/Hq40/Hkv40/D128" + suffix, stream,
                  [&stream, &floor, tokens] { return rope_stage_case(stream, floor, tokens, 40, 40, 128); });
    register_case("rope_stage/Hq32/Hkv32/D96" + suffix, stream,
                  [&stream, &floor, tokens] { return rope_stage_case(stream, floor, tokens, 32, 32, 96); });
  }
}

}  // namespace batchmax::bench
