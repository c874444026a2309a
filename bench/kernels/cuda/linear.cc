// The layers of Llama-2-13B through cuBLASLt, algorithms timed as at start, weights found in no cache. Up to
// 128 rows reading the weight decides: share of copy bandwidth. Beyond, the products do: share of the large
// matmul's rate.
#include <memory>
#include <vector>

#include "bench/kernels/cuda/families.h"
#include "kernels/linear/linear.h"

namespace batchmax::bench {
namespace {

using namespace batchmax::kernels;

struct Shape {
  const char* name;
  int64_t outputs, inputs;
  DType out;
};

Case linear_case(const Stream& stream, const DeviceFloor& floor, const Shape& shape, int64_t rows) {
  const auto n = static_cast<double>(shape.outputs);
  const auto k = static_cast<double>(shape.inputs);
  const auto m = static_cast<double>(rows);
  const double bytes = n * k * 2 + m * k * 2 + m * n * static_cast<double>(size_of(shape.out));
  Case made;
  if (rows <= 128) {
    made.bytes = bytes;
    made.floor = floor.copy_bytes;
  } else {
    made.flops = 2 * m * n * k;
    made.floor = floor.matmul_flops;
  }
  made.sets = rotating_sets(stream, bytes);
  struct Memory {
    std::vector<Linear> layers;
    std::vector<Buffer> x, out;
  };
  auto memory = std::make_shared<Memory>();
  const MatmulLibrary library(stream);
  auto weight = random_values(DType::bf16, static_cast<size_t>(shape.outputs * shape.inputs), 0.02F);
  for (int set = 0; set < made.sets; ++set) {
    memory->layers.emplace_back(stream, library,
                                Tensor(weight.data(), DType::bf16, {shape.outputs, shape.inputs}), Tensor(),
                                DType::bf16);
    memory->x.push_back(random_memory(stream, DType::bf16, static_cast<size_t>(rows * shape.inputs)));
    memory->out.emplace_back(stream, static_cast<size_t>(rows * shape.outputs) * size_of(shape.out));
  }
  memory->layers.front().prepare(stream, rows, shape.out);
  made.work = [&stream, memory, shape, rows](int set) {
    const auto at = static_cast<size_t>(set);
    memory->layers[at].run(stream, Tensor(memory->x[at].data(), DType::bf16, {rows, shape.inputs}),
                           Tensor(memory->out[at].data(), shape.out, {rows, shape.outputs}));
  };
  return made;
}

}  // namespace

void register_linear(const Stream& stream, const DeviceFloor& floor) {
  const std::vector<Shape> shapes{{"qkv", 15360, 5120, DType::bf16},
                                  {"o", 5120, 5120, DType::bf16},
                                  {"gate_up", 27648, 5120, DType::bf16},
                                  {"down", 5120, 13824, DType::bf16},
                                  {"output", 32000, 5120, DType::f32}};
  for (const Shape& shape : shapes) {
    for (const int64_t rows : {1, 16, 64, 128, 256, 1024, 4096}) {
      register_case(std::string("linear/13B/") + shape.name + "/rows" + std::to_string(rows), stream,
                    [&stream, &floor, shape, rows] { return linear_case(stream, floor, shape, rows); });
    }
  }
}

}  // namespace batchmax::bench
