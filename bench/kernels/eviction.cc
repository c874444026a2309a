// Scores, selections and slot writes of a prefill block, and victims of all layers after a decode step, at
// the shape of the model that ships and at that of an 8B model. The floor is one pass over what the score
// reads.
#include <memory>

#include "bench/kernels/eviction_step.h"
#include "bench/kernels/families.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

// Values repeat after a prime number of elements: enough to be random to the kernels, quick to make.
Buffer random_memory(const Stream& stream, DType dtype, size_t elements) {
  constexpr size_t kPeriod = 65521;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(kPeriod);
  for (float& value : values) value = normal(random);
  Buffer memory(stream, elements * size_of(dtype));
  for (size_t i = 0; i < elements; ++i) {
    if (dtype == DType::bf16) {
      static_cast<bf16*>(memory.data())[i] = to_bf16(values[i % kPeriod]);
    } else {
      static_cast<float*>(memory.data())[i] = values[i % kPeriod];
    }
  }
  return memory;
}

EvictionStep step_of(const Stream& stream, const EvictionShape& shape, Score score) {
  return EvictionStep(stream, shape, score,
                      [&](DType dtype, size_t elements) { return random_memory(stream, dtype, elements); });
}

void select(benchmark::State& state, const EvictionShape& shape, Score score, const Floor& floor) {
  const Stream stream = Stream::cpu();
  const EvictionStep step = step_of(stream, shape, score);
  const double seconds = seconds_each(state, [&] { step.select(); });
  report_bytes(state, step.select_bytes() / seconds, floor.read_bytes);
}

void write(benchmark::State& state, const EvictionShape& shape, const Floor& floor) {
  const Stream stream = Stream::cpu();
  const EvictionStep step = step_of(stream, shape, Score::recency);
  step.select();
  const double seconds = seconds_each(state, [&] { step.write(); });
  report_bytes(state, step.write_bytes() / seconds, floor.copy_bytes);
}

template <typename Body>
void register_one(const std::string& name, Body body) {
  benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->Unit(benchmark::kMillisecond);
}

}  // namespace

void register_eviction(const Floor& floor) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const auto& [head_dim, kv_heads] : {std::pair<int32_t, int32_t>{64, 4}, {128, 8}}) {
      const EvictionShape block{dtype, head_dim, kv_heads, 1, 1, 1024, 256};
      const EvictionShape decode{dtype, head_dim, kv_heads, 8, 1, 1024, 0};
      for (const Score score : {Score::average, Score::key_distance, Score::key_diff, Score::random}) {
        const std::string of = std::string("/") + name_of(score) + "/";
        register_one("select_keep" + of + block.name(),
                     [=, &floor](benchmark::State& state) { select(state, block, score, floor); });
        register_one("select_victims" + of + decode.name(),
                     [=, &floor](benchmark::State& state) { select(state, decode, score, floor); });
      }
      register_one("replace_slots/" + block.name(),
                   [=, &floor](benchmark::State& state) { write(state, block, floor); });
    }
  }
}

}  // namespace batchmax::bench
