#include "kernels/linear/cpu/onednn_matmul.h"

#include <list>
#include <oneapi/dnnl/dnnl.hpp>
#include <stdexcept>
#include <string>

namespace batchmax::kernels::cpu {
namespace {

// The packing is chosen for a prefill-sized batch; decode reads the same one.
constexpr int64_t kTypicalRows = 256;
// A serving step meets a few batch sizes again and again; making a primitive costs 0.1 to 1 ms, holding one a
// few KB beside the generated code, which oneDNN itself shares between layers of one shape.
constexpr size_t kMostPrimitives = 64;

using dnnl::memory;

memory::data_type type_of(DType dtype) {
  return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc row_major(int64_t rows, int64_t columns, DType dtype) {
  return memory::desc({rows, columns}, type_of(dtype), memory::format_tag::ab);
}

dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, const memory::desc& x,
                                      const memory::desc& weight, const memory::desc* bias,
                                      const memory::desc& out) {
#if DNNL_VERSION_MAJOR >= 3
  return bias == nullptr ? dnnl::matmul::primitive_desc(engine, x, weight, out)
                         : dnnl::matmul::primitive_desc(engine, x, weight, *bias, out);
#else
  return dnnl::matmul::primitive_desc(
      bias == nullptr ? dnnl::matmul::desc(x, weight, out) : dnnl::matmul::desc(x, weight, *bias, out),
      engine);
#endif
}

}  // namespace

struct OneDnnMatmul::State {
  struct Entry {
    int64_t m;
    DType out;
    memory::desc x_desc;
    memory::desc out_desc;
    dnnl::matmul primitive;
  };

  int64_t outputs;
  int64_t inputs;
  DType compute;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  memory weight;
  memory bias;
  bool has_bias;
  std::list<Entry> entries;  // most recently used first

  Entry make(int64_t m, DType out) {
    const memory::desc x_desc = row_major(m, inputs, compute);
    const memory::desc out_desc = row_major(m, outputs, out);
    memory::desc bias_desc;
    if (has_bias) bias_desc = bias.get_desc();
    return {
        m, out, x_desc, out_desc,
        dnnl::matmul(describe(engine, x_desc, weight.get_desc(), has_bias ? &bias_desc : nullptr, out_desc))};
  }

  Entry& find(int64_t m, DType out) {
    for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
      if (entry->m != m || entry->out != out) continue;
      entries.splice(entries.begin(), entries, entry);
      return entries.front();
    }
    entries.push_front(make(m, out));
    if (entries.size() > kMostPrimitives) entries.pop_back();
    return entries.front();
  }
};

OneDnnMatmul::OneDnnMatmul(int64_t outputs, int64_t inputs, DType compute, const void* weight,
                           const float* bias)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.outputs = outputs;
  state.inputs = inputs;
  state.compute = compute;
  state.has_bias = bias != nullptr;
  try {
    memory::desc bias_desc;
    if (state.has_bias) {
      bias_desc = row_major(1, outputs, DType::f32);
      state.bias = memory(bias_desc, state.engine);
      std::copy(bias, bias + outputs, static_cast<float*>(state.bias.get_data_handle()));
    }
    const memory::desc any({inputs, outputs}, type_of(compute), memory::format_tag::any);
    const dnnl::matmul::primitive_desc typical =
        describe(state.engine, row_major(kTypicalRows, inputs, compute), any,
                 state.has_bias ? &bias_desc : nullptr, row_major(kTypicalRows, outputs, compute));
    // [N, K] row-major is [K, N] column-major.
    const memory::desc plain({inputs, outputs}, type_of(compute), memory::format_tag::ba);
    memory source(plain, state.engine, const_cast<void*>(weight));
    state.weight = memory(typical.weights_desc(), state.engine);
    dnnl::reorder(source, state.weight).execute(state.stream, source, state.weight);
    state.stream.wait();
    state.find(1, compute);  // fails here, at load, if the packing does not serve decode
  } catch (const dnnl::error& failure) {
    throw std::runtime_error(
        "oneDNN cannot multiply [" + std::to_string(outputs) + ", " + std::to_string(inputs) +
        "] weights in " + (compute == DType::bf16 ? "bf16" : "fp32") + " on this machine: " + failure.what());
  }
}

OneDnnMatmul::~OneDnnMatmul() = default;

void OneDnnMatmul::run(int64_t m, const void* x, void* out, DType out_dtype) {
  State& state = *state_;
  State::Entry& entry = state.find(m, out_dtype);
  memory x_memory(entry.x_desc, state.engine, const_cast<void*>(x));
  memory out_memory(entry.out_desc, state.engine, out);
  if (state.has_bias) {
    entry.primitive.execute(state.stream, {{DNNL_ARG_SRC, x_memory},
                                           {DNNL_ARG_WEIGHTS, state.weight},
                                           {DNNL_ARG_BIAS, state.bias},
                                           {DNNL_ARG_DST, out_memory}});
  } else {
    entry.primitive.execute(
        state.stream,
        {{DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, state.weight}, {DNNL_ARG_DST, out_memory}});
  }
  state.stream.wait();
}

size_t OneDnnMatmul::weight_bytes() const {
  return state_->weight.get_desc().get_size() + (state_->has_bias ? state_->bias.get_desc().get_size() : 0);
}

bool OneDnnMatmul::has_bf16() {
  try {
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    const memory::desc any({64, 64}, memory::data_type::bf16, memory::format_tag::any);
    const auto found =
        describe(engine, row_major(64, 64, DType::bf16), any, nullptr, row_major(64, 64, DType::bf16));
    return std::string(found.impl_info_str()).find("ref") == std::string::npos;
  } catch (const dnnl::error&) {
    return false;  // unimplemented: no vector unit that oneDNN would use for bf16
  }
}

}  // namespace batchmax::kernels::cpu
