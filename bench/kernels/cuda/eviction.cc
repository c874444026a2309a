// Scores and selections at the shapes of three models in bf16: after a prefill block of 16 sequences in one
// layer, and of 16 sequences in four layers after a decode step. The floor is one pass over what the score
// reads; scores of keys read the keys twice.
#include <memory>

#include "bench/kernels/cuda/families.h"
#include "bench/kernels/eviction_step.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

std::shared_ptr<EvictionStep> step_of(const Stream& stream, const EvictionShape& shape, Score score) {
  return std::make_shared<EvictionStep>(stream, shape, score, [&](DType dtype, size_t elements) {
    return random_memory(stream, dtype, elements);
  });
}

// One set: a block's keys are several times the L2 cache. (Not so pos and mass alone, which a layer's
// attention has just read as well.)
Case select_case(const Stream& stream, const DeviceFloor& floor, const EvictionShape& shape, Score score) {
  const auto step = step_of(stream, shape, score);
  Case made;
  made.bytes = step->select_bytes();
  made.floor = floor.copy_bytes;
  made.work = [step](int) { step->select(); };
  return made;
}

Case write_case(const Stream& stream, const DeviceFloor& floor, const EvictionShape& shape) {
  const auto step = step_of(stream, shape, Score::recency);
  step->select();
  Case made;
  made.bytes = step->write_bytes();
  made.floor = floor.copy_bytes;
  made.work = [step](int) { step->write(); };
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
    const EvictionShape block{DType::bf16, model.head_dim, model.kv_heads, 1, 16, 1024, 256};
    const EvictionShape decode{DType::bf16, model.head_dim, model.kv_heads, 4, 16, 1024, 0};
    const auto name = [&](const std::string& op, const EvictionShape& shape) {
      return op + "/" + model.name + "/" + shape.name();
    };
    for (const Score score :
         {Score::average, Score::key_distance, Score::key_diff, Score::recency, Score::random}) {
      register_case(name(std::string("select_keep/") + name_of(score), block), stream,
                    [&stream, &floor, block, score] { return select_case(stream, floor, block, score); });
      register_case(name(std::string("select_victims/") + name_of(score), decode), stream,
                    [&stream, &floor, decode, score] { return select_case(stream, floor, decode, score); });
    }
    register_case(name("replace_slots", block), stream,
                  [&stream, &floor, block] { return write_case(stream, floor, block); });
  }
}

}  // namespace batchmax::bench
