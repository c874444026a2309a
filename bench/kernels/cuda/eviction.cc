// Scores and selections at the shapes of three models in bf16: after a prefill block of 4 and of 16 sequences
// in one layer, and of 16 sequences in four layers after a decode step. The floor is one pass over what the
// score reads.
#include <memory>
#include <vector>

#include "bench/kernels/cuda/families.h"
#include "bench/kernels/eviction_step.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

constexpr Score kScores[] = {Score::average, Score::key_distance, Score::key_diff, Score::recency,
                             Score::random};

using Steps = std::shared_ptr<std::vector<std::unique_ptr<EvictionStep>>>;

// Calls rotate among sets, so that keys come from memory. (In a model a layer's attention has just read them:
// a part is in the L2 cache.)
Steps steps_of(const Stream& stream, const EvictionShape& shape, Score score) {
  const double keys = static_cast<double>(shape.layers) * shape.rows * shape.kv_heads *
                      (shape.budget + shape.tokens) * shape.head_dim;
  auto steps = std::make_shared<std::vector<std::unique_ptr<EvictionStep>>>();
  for (int set = rotating_sets(stream, keys * static_cast<double>(size_of(shape.dtype))); set > 0; --set) {
    steps->push_back(std::make_unique<EvictionStep>(stream, shape, score, [&](DType dtype, size_t elements) {
      return random_memory(stream, dtype, elements);
    }));
  }
  return steps;
}

Case select_case(const Stream& stream, const DeviceFloor& floor, const EvictionShape& shape, Score score) {
  const Steps steps = steps_of(stream, shape, score);
  Case made;
  made.sets = static_cast<int>(steps->size());
  made.bytes = steps->front()->select_bytes();
  made.floor = floor.copy_bytes;
  made.work = [steps](int set) { (*steps)[static_cast<size_t>(set)]->select(); };
  return made;
}

Case write_case(const Stream& stream, const DeviceFloor& floor, const EvictionShape& shape) {
  const Steps steps = steps_of(stream, shape, Score::key_distance);
  for (const auto& step : *steps) step->select();
  Case made;
  made.sets = static_cast<int>(steps->size());
  made.bytes = steps->front()->write_bytes();
  made.floor = floor.copy_bytes;
  made.work = [steps](int set) { (*steps)[static_cast<size_t>(set)]->write(); };
  return made;
}

}  // namespace

void register_eviction(const Stream& stream, const DeviceFloor& floor) {
  struct Model {
    const char* name;
    int32_t head_dim, kv_heads;
  };
  for (const Model& model :
       {Model{"Llama-2-13B", 128, 40}, Model{"Phi-3.5", 96, 32}, Model{"Llama-3-8B", 128, 8}}) {
    const auto name = [&](const std::string& op, const EvictionShape& shape) {
      return op + "/" + model.name + "/" + shape.name();
    };
    const EvictionShape decode{DType::bf16, model.head_dim, model.kv_heads, 4, 16, 1024, 0};
    for (const Score score : kScores) {
      register_case(name(std::string("select_victims/") + name_of(score), decode), stream,
                    [&stream, &floor, decode, score] { return select_case(stream, floor, decode, score); });
    }
    for (const int32_t sequences : {4, 16}) {
      const EvictionShape block{DType::bf16, model.head_dim, model.kv_heads, 1, sequences, 1024, 256};
      for (const Score score : kScores) {
        register_case(name(std::string("select_keep/") + name_of(score), block), stream,
                      [&stream, &floor, block, score] { return select_case(stream, floor, block, score); });
      }
      register_case(name("replace_slots", block), stream,
                    [&stream, &floor, block] { return write_case(stream, floor, block); });
    }
  }
}

}  // namespace batchmax::bench
