#include "kernels/linear/cuda/matmul_library.h"

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/core/cuda/check.h"
#include "kernels/linear/implementation.h"

namespace batchmax::kernels {
namespace {

using namespace cuda;

// cuBLAS asks for 32 MiB on Hopper; twice that, so that no algorithm is passed over for want of it.
constexpr size_t kWorkspace = size_t{64} << 20;
// Few of each: a model has some 40 buckets of five shapes, and a start should not take long. Whether later
// candidates would win anything has not been measured.
constexpr int kCandidates = 8;
constexpr int kRounds = 3;

// One algorithm serves every number of rows, so a row's result does not depend on what it is batched with.
constexpr int64_t kRowsOfFp32 = 64;

// Rows that share an algorithm. Decode batches are small and frequent: fine steps; the larger, the less a
// tile more or less matters.
int64_t bucket_of(const MatmulShape& shape, int64_t rows) {
  if (shape.compute == DType::f32) return kRowsOfFp32;
  for (const int64_t small : {1, 2, 4}) {
    if (rows <= small) return small;
  }
  const int64_t step = rows <= 128 ? 8 : rows <= 1024 ? 64 : 512;
  return (rows + step - 1) / step * step;
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// `bytes` of memory filled with copies of the weight: values of a real layer, which the clock depends on.
Buffer filled(const Stream& stream, size_t bytes, const void* weight, size_t weight_bytes) {
  Buffer buffer(stream, bytes);
  for (size_t at = 0; at < bytes; at += weight_bytes) {
    check(cudaMemcpyAsync(static_cast<std::byte*>(buffer.data()) + at, weight,
                          std::min(weight_bytes, bytes - at), cudaMemcpyDeviceToDevice, stream_of(stream)),
          "cudaMemcpyAsync");
  }
  return buffer;
}

}  // namespace

MatmulLibrary::State::State(const Stream& stream) : workspace_(stream, kWorkspace) {
  stream_of(stream);
  check(cublasLtCreate(&handle_), "cublasLtCreate");
  int l2_bytes = 0;
  check(cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, stream.device()), "cudaDeviceGetAttribute");
  flush_bytes_ = 2 * static_cast<size_t>(l2_bytes);
}

MatmulLibrary::State::~State() { cublasLtDestroy(handle_); }

MatmulLibrary::State::Choice& MatmulLibrary::State::choice(const MatmulShape& shape, int64_t bucket,
                                                           const void* bias) {
  const auto found = choices_.find({shape, bucket});
  if (found != choices_.end()) return found->second;
  const MatmulProblem problem(shape, bucket, bias);
  const auto best = problem.candidates(handle_, workspace_.bytes(), 1, shape.compute == DType::f32).front();
  return choices_.insert({{shape, bucket}, {best.algo, false}}).first->second;
}

// Each run finds the caches cold, as in a step, where other layers have run since this one's weights were
// read.
double MatmulLibrary::State::seconds(const Stream& stream, const MatmulProblem& problem,
                                     const cublasLtMatmulAlgo_t& algorithm, const MatmulOperands& operands,
                                     const Buffer& flush) const {
  const cudaStream_t queue = stream_of(stream);
  const Event begin, end;
  std::array<float, kRounds> times;
  for (int round = -1; round < kRounds; ++round) {  // the first loads the kernel
    fill_zero(stream, flush.data(), flush.bytes());
    check(cudaEventRecord(begin, queue), "cudaEventRecord");
    const cublasStatus_t status =
        problem.run(handle_, algorithm, operands, workspace_.data(), workspace_.bytes(), queue);
    if (status != CUBLAS_STATUS_SUCCESS) return std::numeric_limits<double>::infinity();
    check(cudaEventRecord(end, queue), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    if (round >= 0) times[static_cast<size_t>(round)] = milliseconds;
  }
  std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
  return static_cast<double>(times[kRounds / 2]);
}

void MatmulLibrary::State::prepare(const Stream& stream, const MatmulShape& shape, int64_t rows,
                                   const void* weight, const void* bias) {
  if (shape.compute == DType::f32) return;
  const int64_t bucket = bucket_of(shape, rows);
  Choice& chosen = choice(shape, bucket, bias);
  if (chosen.timed) return;
  const size_t weight_bytes = static_cast<size_t>(shape.outputs * shape.inputs) * size_of(shape.compute);
  const Buffer x = filled(stream, static_cast<size_t>(bucket * shape.inputs) * size_of(shape.compute), weight,
                          weight_bytes);
  const Buffer out(stream, static_cast<size_t>(bucket * shape.outputs) * size_of(shape.out));
  const Buffer flush(stream, flush_bytes_);
  const MatmulProblem problem(shape, bucket, bias);
  double best = std::numeric_limits<double>::infinity();
  for (const auto& candidate : problem.candidates(handle_, workspace_.bytes(), kCandidates, false)) {
    const double spent =
        seconds(stream, problem, candidate.algo, {weight, bias, x.data(), out.data()}, flush);
    if (spent >= best) continue;
    best = spent;
    chosen.algorithm = candidate.algo;
  }
  chosen.timed = true;
  stream.synchronize();
}

void MatmulLibrary::State::run(const Stream& stream, const MatmulShape& shape, int64_t rows,
                               const MatmulOperands& operands) {
  const cudaStream_t queue = stream_of(stream);
  const Choice& chosen = choice(shape, bucket_of(shape, rows), operands.bias);
  const MatmulProblem problem(shape, rows, operands.bias);
  check(problem.run(handle_, chosen.algorithm, operands, workspace_.data(), workspace_.bytes(), queue),
        "cublasLtMatmul");
}

namespace cuda {

std::shared_ptr<MatmulLibrary::State> make_library(const Stream& stream) {
  return std::make_shared<MatmulLibrary::State>(stream);
}

}  // namespace cuda

}  // namespace batchmax::kernels
