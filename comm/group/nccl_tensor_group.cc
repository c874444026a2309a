// Bytes: an all-reduce moves 2 (N-1)/N of its tensors in and out of every rank. An all-gather lands as
// contiguous blocks [rank][row][n] in a fixed scratch buffer and is copied into the columns of `whole`, some
// rows at a time: a second pass over the logits of a step, a few microseconds, instead of one NCCL call per
// row.
#include "comm/group/nccl_tensor_group.h"

#include <nccl.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comm/group/device_placement.h"
#include "comm/group/nccl_transport.h"
#include "comm/group/one_shot_sum.h"
#include "kernels/core/buffer.h"
#include "kernels/core/cuda/check.h"
#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

using kernels::DType;
using kernels::Stream;
using kernels::Tensor;

// Rows of logits that one gather takes: 16 MiB hold 128 rows of a vocabulary of 32,000.
constexpr size_t kGatherBytes = size_t{16} << 20;

ncclDataType_t type_of(DType dtype) {
  CHECK(dtype == DType::f32 || dtype == DType::bf16);
  return dtype == DType::f32 ? ncclFloat32 : ncclBfloat16;
}

class NcclTensorGroup final : public TensorGroup {
 public:
  NcclTensorGroup(ControlGroup& control, const Stream& stream, std::unique_ptr<OneShotSum> one_shot)
      : rank_(control.rank()),
        size_(control.size()),
        device_(stream.device()),
        exceptions_(std::uncaught_exceptions()),
        one_shot_(std::move(one_shot)) {
    if (size_ == 1) return;
    scratch_ = kernels::Buffer(stream, kGatherBytes);
    ncclUniqueId id{};
    if (rank_ == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    std::vector<std::byte> bytes(sizeof id);
    std::memcpy(bytes.data(), &id, sizeof id);
    bytes = control.broadcast(std::move(bytes));
    CHECK_EQ(bytes.size(), sizeof id);
    std::memcpy(&id, bytes.data(), sizeof id);
    kernels::cuda::stream_of(stream);  // the communicator takes the thread's current device
    check(ncclCommInitRank(&communicator_, size_, id, rank_), "ncclCommInitRank");
  }
  ~NcclTensorGroup() override {
    if (communicator_ != nullptr && std::uncaught_exceptions() == exceptions_) ncclCommDestroy(communicator_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(const Stream& stream, std::span<const Tensor> tensors) override {
    if (size_ == 1) return;
    const cudaStream_t native = stream_of(stream);
    if (one_shot_ != nullptr && one_shot_->takes(tensors)) return one_shot_->sum(stream, tensors);
    check(ncclGroupStart(), "ncclGroupStart");
    for (const Tensor& tensor : tensors) {
      check(ncclAllReduce(tensor.data(), tensor.data(), static_cast<size_t>(tensor.elements()),
                          type_of(tensor.dtype()), ncclSum, communicator_, native),
            "ncclAllReduce");
    }
    check(ncclGroupEnd(), "ncclGroupEnd of an all-reduce");
  }

  void all_gather(const Stream& stream, const Tensor& part, const Tensor& whole) override {
    CHECK(part.dtype() == whole.dtype());
    CHECK_EQ(part.dim(0), whole.dim(0));
    CHECK_EQ(part.dim(1) * size_, whole.dim(1));
    const cudaStream_t native = stream_of(stream);
    const size_t piece =
        static_cast<size_t>(part.dim(1)) * kernels::size_of(part.dtype());  // bytes of a rank's row
    const size_t pitch = piece * static_cast<size_t>(size_);
    if (size_ == 1)
      return place(whole.data(), pitch, part.data(), piece, static_cast<size_t>(part.dim(0)), native);
    CHECK_LE(pitch, kGatherBytes);
    const auto at_once = static_cast<int64_t>(kGatherBytes / pitch);
    for (int64_t begin = 0; begin < part.dim(0); begin += at_once) {
      const auto rows = static_cast<size_t>(std::min(at_once, part.dim(0) - begin));
      const auto offset = static_cast<size_t>(begin);
      check(ncclAllGather(static_cast<const std::byte*>(part.data()) + offset * piece, scratch_.data(),
                          rows * piece, ncclInt8, communicator_, native),
            "ncclAllGather");
      for (size_t rank = 0; rank < static_cast<size_t>(size_); ++rank) {
        place(static_cast<std::byte*>(whole.data()) + offset * pitch + rank * piece, pitch,
              static_cast<const std::byte*>(scratch_.data()) + rank * rows * piece, piece, rows, native);
      }
    }
  }

 private:
  static void place(void* to, size_t pitch, const void* from, size_t piece, size_t rows,
                    cudaStream_t stream) {
    kernels::cuda::check(
        cudaMemcpy2DAsync(to, pitch, from, piece, piece, rows, cudaMemcpyDeviceToDevice, stream),
        "cudaMemcpy2DAsync of gathered columns");
  }
  cudaStream_t stream_of(const Stream& stream) const {
    CHECK(stream.backend() == kernels::Backend::cuda);
    CHECK_EQ(stream.device(), device_);
    return kernels::cuda::stream_of(stream);
  }
  void check(ncclResult_t result, const char* call) const {
    if (result == ncclSuccess) return;
    const char* last = ncclGetLastError(communicator_);
    throw std::runtime_error(std::string(call) + " failed on rank " + std::to_string(rank_) +
                             ", CUDA device " + std::to_string(device_) + ": " + ncclGetErrorString(result) +
                             (last == nullptr || *last == '\0' ? "" : std::string(" (") + last + ")"));
  }

  const int rank_;
  const int size_;
  const int device_;
  const int exceptions_;  // in flight when it was made
  std::unique_ptr<OneShotSum> one_shot_;
  kernels::Buffer scratch_;
  ncclComm_t communicator_ = nullptr;
};

}  // namespace

NcclGroup make_nccl_tensor_group(ControlGroup& control, const Stream& stream, SmallSums small_sums) {
  const DevicePlacement placement = agree_on_devices(control, stream);
  NcclGroup made;
  made.sharers = placement.sharers;
  if (control.size() == 1) {
    made.group = std::make_unique<NcclTensorGroup>(control, stream, nullptr);
    made.description = "one rank, no NCCL";
    return made;
  }
  std::unique_ptr<OneShotSum> one_shot;
  if (small_sums == SmallSums::one_shot) one_shot = make_one_shot_sum(control, placement, stream);
  const bool in_one_trip = one_shot != nullptr;
  TransportWatch transport;
  made.group = std::make_unique<NcclTensorGroup>(control, stream, std::move(one_shot));
  int version = 0;
  ncclGetVersion(&version);
  made.description = describe_nccl(version, placement, stream, transport.seen());
  if (in_one_trip) made.description += ", small sums in one trip";
  return made;
}

}  // namespace batchmax::comm
