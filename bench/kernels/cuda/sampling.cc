// Drawing from logits with the filters that requests use; the floor is one pass over the logits.
#include <memory>
#include <string>
#include <vector>

#include "bench/kernels/cuda/families.h"
#include "kernels/sampling/sample.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

struct Filter {
  const char* name;
  float temperature, top_p;
  int32_t top_k;
};

Case sample_case(const Stream& stream, const DeviceFloor& floor, const Filter& filter, int64_t rows,
                 int64_t vocabulary) {
  Case made;
  made.bytes = static_cast<double>(rows * vocabulary) * 4;
  made.floor = floor.copy_bytes;
  made.sets = rotating_sets(stream, made.bytes);
  struct Memory {
    Buffer logits;
    std::vector<SampleRow> host;
    Buffer rows, ids, last_token;
  };
  auto memory = std::make_shared<Memory>();
  const size_t step = static_cast<size_t>(rows * vocabulary);
  memory->logits = random_memory(stream, DType::f32, step * static_cast<size_t>(made.sets), 2.5F);
  for (int32_t r = 0; r < rows; ++r) {
    SampleRow row{};
    row.seed = static_cast<uint64_t>(r) + 1;
    row.temperature = filter.temperature;
    row.top_p = filter.top_p;
    row.top_k = filter.top_k;
    row.sequence = r;
    memory->host.push_back(row);
  }
  const size_t bytes = memory->host.size() * sizeof(SampleRow);
  memory->rows = Buffer(stream, bytes);
  upload(stream, memory->rows.data(), memory->host.data(), bytes);
  memory->ids = Buffer(stream, memory->host.size() * sizeof(int32_t));
  memory->last_token = Buffer(stream, memory->host.size() * sizeof(int32_t));
  stream.synchronize();
  made.work = [&stream, memory, step, rows, vocabulary](int set) {
    auto* logits = static_cast<float*>(memory->logits.data()) + step * static_cast<size_t>(set);
    sample(stream, Tensor(logits, DType::f32, {rows, vocabulary}), memory->host.data(),
           static_cast<const SampleRow*>(memory->rows.data()), Tensor(memory->ids.data(), DType::i32, {rows}),
           Tensor(memory->last_token.data(), DType::i32, {rows}));
  };
  return made;
}

}  // namespace

void register_sampling(const Stream& stream, const DeviceFloor& floor) {
  for (const Filter& filter :
       {Filter{"greedy", 0, 1, 0}, Filter{"temperature", 1, 1, 0}, Filter{"top_k50", 1, 1, 50},
        Filter{"top_p95", 1, 0.95F, 0}, Filter{"top_k50_top_p95", 1, 0.95F, 50}}) {
    for (const int64_t vocabulary : {32000, 128256}) {
      for (const int64_t rows : {1, 128}) {
        register_case(std::string("sample/") + filter.name + "/V" + std::to_string(vocabulary) + "/rows" +
                          std::to_string(rows),
                      stream, [&stream, &floor, filter, rows, vocabulary] {
                        return sample_case(stream, floor, filter, rows, vocabulary);
                      });
      }
    }
  }
}

}  // namespace batchmax::bench
