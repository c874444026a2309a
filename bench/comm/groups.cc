// What waiting and exchanging cost in one group over MPI. Started by mpirun, every rank runs it:
//   scripts/mpirun 2 build/release/bin/bench_comm [--idle SECONDS] [--json FILE]
//   idle        share of a core that each rank uses while it waits for the leader's next broadcast
//   wake-up     from the leader's call of broadcast() to the bytes being in a follower's hands, after a
//   silence all-reduce  time per call by size, fp32 and bf16: median over the calls of the slowest rank
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include "comm/group/mpi_runtime.h"

namespace batchmax::bench {
namespace {

using Bytes = std::vector<std::byte>;

double now() {  // one clock for all processes of a machine
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Bytes to_bytes(const std::vector<double>& values) {
  Bytes bytes(values.size() * sizeof(double));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
std::vector<double> to_values(const Bytes& bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

// The leader is away; the others wait in broadcast(). Shares of a core by rank, on rank 0.
std::vector<double> measure_idle(comm::ControlGroup& group, double seconds) {
  group.barrier();
  const double cpu = cpu_seconds();
  const double begin = now();
  if (group.rank() == 0) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  group.broadcast({});
  const double share = (cpu_seconds() - cpu) / (now() - begin);
  std::vector<double> shares;
  for (const Bytes& bytes : group.gather(to_bytes({share}))) shares.push_back(to_values(bytes)[0]);
  return shares;
}

// Seconds from send to receipt, for all followers and silences, on rank 0.
std::vector<double> measure_wake_up(comm::ControlGroup& group, int rounds) {
  std::mt19937 random(1);
  std::vector<double> delays;
  for (int round = 0; round < rounds; ++round) {
    const double silence = 0.02 + 0.4 * static_cast<double>(random() % 1000) / 1000;
    if (group.rank() == 0) std::this_thread::sleep_for(std::chrono::duration<double>(silence));
    const double sent = to_values(group.broadcast(to_bytes({now()})))[0];
    const double delay = now() - sent;
    for (const Bytes& bytes : group.gather(to_bytes({delay}))) delays.push_back(to_values(bytes)[0]);
    if (group.rank() == 0) delays.erase(delays.end() - group.size());  // rank 0 itself waits for nobody
  }
  return delays;
}

double measure_all_reduce(comm::ControlGroup& control, comm::TensorGroup& group, kernels::DType dtype,
                          size_t bytes) {
  const auto elements = static_cast<int64_t>(bytes / kernels::size_of(dtype));
  std::vector<float> memory(bytes / sizeof(float) + 1, 0);
  const kernels::Tensor tensor(memory.data(), dtype, {elements});
  const kernels::Stream stream = kernels::Stream::cpu();
  const int calls = std::clamp(static_cast<int>(100'000'000 / bytes), 20, 500);
  std::vector<double> times;
  for (int call = 0; call < calls; ++call) {
    const double begin = now();
    group.all_reduce(stream, std::span(&tensor, 1));
    times.push_back(now() - begin);
  }
  double slowest = 0;
  for (const Bytes& theirs : control.gather(to_bytes({quantile(times, 0.5)}))) {
    slowest = std::max(slowest, to_values(theirs)[0]);
  }
  return slowest;
}

int run(int argc, char** argv) {
  comm::MpiRuntime runtime(&argc, &argv);
  double idle_seconds = 5;
  std::string json;
  CLI::App app("Cost of waiting and of exchanging in one group over MPI");
  app.add_option("--idle", idle_seconds, "seconds of idleness to measure");
  app.add_option("--json", json, "file for the figures");
  CLI11_PARSE(app, argc, argv);

  const auto control = runtime.control_group(runtime.world_size());
  const auto tensor = runtime.tensor_group(runtime.world_size());
  const bool leader = control->rank() == 0;
  std::ofstream out(leader && !json.empty() ? json : "/dev/null");

  const std::vector<double> shares = measure_idle(*control, idle_seconds);
  const std::vector<double> delays = measure_wake_up(*control, 50);
  if (leader) {
    std::printf("%d ranks\n", control->size());
    out << "{\"ranks\": " << control->size() << ", \"idle_share\": [";
    for (size_t rank = 0; rank < shares.size(); ++rank) {
      std::printf("idle       rank %zu: %.2f %% of a core\n", rank, 100 * shares[rank]);
      out << (rank == 0 ? "" : ", ") << shares[rank];
    }
    out << "]";
    if (!delays.empty()) {
      std::printf("wake-up    median %.3f ms, p99 %.3f ms, most %.3f ms\n", 1e3 * quantile(delays, 0.5),
                  1e3 * quantile(delays, 0.99), 1e3 * quantile(delays, 1));
      out << ", \"wake_up_seconds\": {\"p50\": " << quantile(delays, 0.5)
          << ", \"p99\": " << quantile(delays, 0.99) << ", \"max\": " << quantile(delays, 1) << "}";
    }
    out << ", \"all_reduce_seconds\": [";
  }
  bool first = true;
  for (const kernels::DType dtype : {kernels::DType::f32, kernels::DType::bf16}) {
    for (size_t kib = 1; kib <= 4096; kib *= 2) {
      const double seconds = measure_all_reduce(*control, *tensor, dtype, kib * 1024);
      if (!leader) continue;
      std::printf("all-reduce %-4s %5zu KiB: %8.1f us, %6.2f GB/s\n", kernels::name_of(dtype), kib,
                  1e6 * seconds, static_cast<double>(kib) * 1024 / seconds / 1e9);
      out << (first ? "" : ", ") << "{\"dtype\": \"" << kernels::name_of(dtype)
          << "\", \"bytes\": " << kib * 1024 << ", \"seconds\": " << seconds << "}";
      first = false;
    }
  }
  if (leader) out << "]}\n";
  return 0;
}

}  // namespace
}  // namespace batchmax::bench

int main(int argc, char** argv) { return batchmax::bench::run(argc, argv); }
