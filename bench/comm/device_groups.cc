// What the collectives of GPUs cost in one group over NCCL. Started by mpirun with a rank per GPU, every rank
// runs it:
//   scripts/mpirun 2 build/cuda/bin/bench_comm_cuda [--json FILE]
//   launched    all-reduces handed over one by one: what a step with prefill blocks pays, host included where
//   it is slower in a graph  the same number of them in one graph: what a decode step pays
// Per call, by the device's clock, median of the rounds, slowest rank; bytes of one rank's tensor.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <vector>

#include "comm/group/mpi_runtime.h"
#include "comm/group/nccl_tensor_group.h"
#include "kernels/core/buffer.h"
#include "kernels/core/event.h"
#include "kernels/core/graph.h"
#include "tests/support/rank_device.h"

namespace batchmax::bench {
namespace {

using kernels::DType;
using kernels::Tensor;

constexpr int kCalls = 80;  // a step of 40 layers
constexpr int kRounds = 15;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size()) / 2, values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(comm::ControlGroup& control, comm::TensorGroup& group, const kernels::Stream& stream)
      : control_(control), group_(group), stream_(stream), marks_(stream, 2 * sizeof(int64_t)) {}

  // Seconds per call of kCalls all-reduces.
  double launched(const Tensor& tensor) {
    return measure([&] { all_reduces(tensor); });
  }
  double in_a_graph(const Tensor& tensor) {
    all_reduces(tensor);
    stream_.synchronize();
    const kernels::Graph graph(stream_, [&] { all_reduces(tensor); });
    const double seconds = measure([&] { graph.launch(stream_); });
    stream_.synchronize();
    return seconds;
  }

 private:
  void all_reduces(const Tensor& tensor) {
    for (int call = 0; call < kCalls; ++call) group_.all_reduce(stream_, std::array{tensor});
  }

  template <typename Work>
  double measure(Work work) {
    auto* marks = static_cast<int64_t*>(marks_.data());
    std::vector<double> times;
    for (int round = -2; round < kRounds; ++round) {
      control_.barrier();
      kernels::mark_time(stream_, marks);
      work();
      kernels::mark_time(stream_, marks + 1);
      std::array<int64_t, 2> at{};
      kernels::download(stream_, at.data(), marks, sizeof at);
      stream_.synchronize();
      if (round >= 0) times.push_back(1e-9 * static_cast<double>(at[1] - at[0]) / kCalls);
    }
    return slowest(median(times));
  }

  double slowest(double mine) {
    std::vector<std::byte> bytes(sizeof mine);
    std::memcpy(bytes.data(), &mine, sizeof mine);
    double most = mine;
    for (const auto& theirs : control_.gather(bytes)) {
      double value = 0;
      std::memcpy(&value, theirs.data(), sizeof value);
      most = std::max(most, value);
    }
    return most;
  }

  comm::ControlGroup& control_;
  comm::TensorGroup& group_;
  const kernels::Stream& stream_;
  const kernels::Buffer marks_;
};

int run(int argc, char** argv) {
  comm::MpiRuntime runtime(&argc, &argv);
  std::string json;
  CLI::App app("Cost of all-reduces in one group over NCCL");
  app.add_option("--json", json, "file for the figures");
  CLI11_PARSE(app, argc, argv);
  if (!has_rank_device()) return 0;

  const auto control = runtime.control_group(runtime.world_size());
  const kernels::Stream stream =
      kernels::Stream::cuda(rank_device(runtime.world_rank(), runtime.world_size()));
  const comm::NcclGroup nccl = comm::make_nccl_tensor_group(*control, stream, comm::SmallSums::nccl);
  const comm::NcclGroup one_shot = comm::make_nccl_tensor_group(*control, stream, comm::SmallSums::one_shot);
  Bench by_nccl(*control, *nccl.group, stream);
  Bench in_one_trip(*control, *one_shot.group, stream);
  const bool leader = control->rank() == 0;
  std::ofstream out(leader && !json.empty() ? json : "/dev/null");
  if (leader) {
    std::printf("%s\n%10s %14s %14s %14s   us\n", one_shot.description.c_str(), "bytes", "launched",
                "in a graph", "one-shot graph");
  }
  out << "{\"group\": \"" << one_shot.description << "\", \"all_reduce_bf16\": [";
  const size_t most = size_t{4} << 20;
  const kernels::Buffer memory(stream, most);
  kernels::fill_zero(stream, memory.data(), most);  // sums of other numbers would overflow within a round
  // A row of 13B is 10 KB: 1 … 409 rows.
  for (const size_t bytes : {size_t{10} << 10, size_t{40} << 10, size_t{160} << 10, size_t{320} << 10,
                             size_t{512} << 10, size_t{640} << 10, size_t{1280} << 10, most}) {
    const Tensor tensor(memory.data(), DType::bf16, {static_cast<int64_t>(bytes / 2)});
    const double launched = by_nccl.launched(tensor);
    const double in_a_graph = by_nccl.in_a_graph(tensor);
    const double shot = in_one_trip.in_a_graph(tensor);
    if (leader)
      std::printf("%10zu %14.1f %14.1f %14.1f\n", bytes, 1e6 * launched, 1e6 * in_a_graph, 1e6 * shot);
    out << (bytes == size_t{10} << 10 ? "" : ", ") << "{\"bytes\": " << bytes
        << ", \"launched_seconds\": " << launched << ", \"graph_seconds\": " << in_a_graph
        << ", \"one_shot_graph_seconds\": " << shot << "}";
  }
  out << "]}\n";
  return 0;
}

}  // namespace
}  // namespace batchmax::bench

int main(int argc, char** argv) { return batchmax::bench::run(argc, argv); }
