// All-reduce by hand, because MPI's own leaves the order of the sum open and spins while it waits.
//   one trip    every rank sends its whole tensors to all others and sums up everything itself: small tensors
//   two trips   rank r gets slice r of all ranks, sums it up, and sends the sum to all: 2 (N-1)/N of the
//   bytes
// Both sum in rank order in fp32 and round once, so the result does not depend on the way taken.
#include <algorithm>
#include <cstring>

#include "comm/group/mpi_group.h"
#include "comm/group/rank_order_sum.h"
#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

constexpr int kSlices = 1;  // tags
constexpr int kSums = 2;
constexpr int kParts = 3;

// One trip pays while the bytes that each rank takes in stay below this (bench/comm).
constexpr size_t kOneTripBytes = 64 * 1024;

// A rank that waits here waits for another that computes: soon, but milliseconds on a loaded machine.
// Yielding hands the core to any other process for a whole time slice, longer than most waits: so it spins
// first, where every rank has a core.
constexpr std::chrono::microseconds kSpin{2000};
constexpr std::chrono::microseconds kHot{20000};
constexpr std::chrono::microseconds kLongestSleep{200};

// What a tensor takes in scratch: the next one starts aligned, whatever its dtype.
size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

class MpiTensorGroup final : public TensorGroup {
 public:
  MpiTensorGroup(std::unique_ptr<Communicator> communicator, LocalRank local)
      : communicator_(std::move(communicator)),
        rank_(communicator_->rank()),
        size_(communicator_->size()),
        policy_{local.size > usable_cores() ? std::chrono::microseconds(0) : kSpin, kHot, kLongestSleep},
        inputs_(static_cast<size_t>(size_)) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(const kernels::Stream& stream, std::span<const kernels::Tensor> tensors) override {
    CHECK(stream.backend() == kernels::Backend::cpu);
    if (size_ == 1) return;
    size_t bytes = 0;
    for (const kernels::Tensor& tensor : tensors) bytes += padded(tensor.bytes());
    if (bytes * static_cast<size_t>(size_ - 1) <= kOneTripBytes) {
      reduce_in_one_trip(tensors, bytes);
    } else {
      reduce_in_two_trips(tensors);
    }
  }

  void all_gather(const kernels::Stream& stream, const kernels::Tensor& part,
                  const kernels::Tensor& whole) override {
    CHECK(stream.backend() == kernels::Backend::cpu);
    CHECK(part.dtype() == whole.dtype());
    CHECK_EQ(part.dim(0), whole.dim(0));
    CHECK_EQ(part.dim(1) * size_, whole.dim(1));
    std::byte* scratch = reserve(part.bytes() * static_cast<size_t>(size_));
    for_each_peer([&](int peer) {
      receive(scratch + static_cast<size_t>(peer) * part.bytes(), part.bytes(), peer, kParts);
    });
    for_each_peer([&](int peer) { send(part.data(), part.bytes(), peer, kParts); });
    wait_all(requests_, policy_);
    const size_t piece = static_cast<size_t>(part.dim(1)) * kernels::size_of(part.dtype());
    auto* target = static_cast<std::byte*>(whole.data());
    for (size_t row = 0; row < static_cast<size_t>(part.dim(0)); ++row) {
      for (int rank = 0; rank < size_; ++rank) {
        const auto* source = rank == rank_ ? static_cast<const std::byte*>(part.data())
                                           : scratch + static_cast<size_t>(rank) * part.bytes();
        std::memcpy(target, source + row * piece, piece);
        target += piece;
      }
    }
  }

 private:
  void reduce_in_one_trip(std::span<const kernels::Tensor> tensors, size_t bytes) {
    std::byte* scratch = reserve(bytes * static_cast<size_t>(size_));
    for_each_peer([&](int peer) {
      std::byte* into = scratch + static_cast<size_t>(peer) * bytes;
      for (const kernels::Tensor& tensor : tensors) {
        receive(into, tensor.bytes(), peer, kSlices);
        into += padded(tensor.bytes());
      }
    });
    for_each_peer([&](int peer) {
      for (const kernels::Tensor& tensor : tensors) send(tensor.data(), tensor.bytes(), peer, kSlices);
    });
    wait_all(requests_, policy_);
    size_t offset = 0;
    for (const kernels::Tensor& tensor : tensors) {
      sum(tensor.dtype(), tensor.data(), scratch + offset, bytes, static_cast<size_t>(tensor.elements()));
      offset += padded(tensor.bytes());
    }
  }

  void reduce_in_two_trips(std::span<const kernels::Tensor> tensors) {
    size_t mine = 0;  // bytes of this rank's slices in scratch
    for (const kernels::Tensor& tensor : tensors) mine += padded(slice(tensor, rank_).bytes);
    std::byte* scratch = reserve(mine * static_cast<size_t>(size_));
    for_each_peer([&](int peer) {
      std::byte* into = scratch + static_cast<size_t>(peer) * mine;
      for (const kernels::Tensor& tensor : tensors) {
        const size_t count = slice(tensor, rank_).bytes;
        receive(into, count, peer, kSlices);
        into += padded(count);
      }
    });
    for_each_peer([&](int peer) {
      for (const kernels::Tensor& tensor : tensors) send_slice(tensor, peer, peer, kSlices);
    });
    wait_all(requests_, policy_);

    size_t offset = 0;
    for (const kernels::Tensor& tensor : tensors) {
      const Piece piece = slice(tensor, rank_);
      sum(tensor.dtype(), piece.data, scratch + offset, mine, piece.bytes / kernels::size_of(tensor.dtype()));
      offset += padded(piece.bytes);
    }
    for_each_peer([&](int peer) {
      for (const kernels::Tensor& tensor : tensors) {
        const Piece piece = slice(tensor, peer);
        receive(piece.data, piece.bytes, peer, kSums);
      }
    });
    for_each_peer([&](int peer) {
      for (const kernels::Tensor& tensor : tensors) send_slice(tensor, rank_, peer, kSums);
    });
    wait_all(requests_, policy_);
  }

  struct Piece {
    std::byte* data;
    size_t bytes;
  };
  Piece slice(const kernels::Tensor& tensor, int rank) const {
    const Slice elements = slice_of(static_cast<size_t>(tensor.elements()), rank, size_);
    const size_t width = kernels::size_of(tensor.dtype());
    return {static_cast<std::byte*>(tensor.data()) + elements.begin * width, elements.elements() * width};
  }

  // own += the others' pieces, which lie in scratch `stride` bytes apart, in rank order.
  void sum(kernels::DType dtype, void* own, const std::byte* scratch, size_t stride, size_t elements) {
    for (int rank = 0; rank < size_; ++rank) {
      inputs_[static_cast<size_t>(rank)] = rank == rank_ ? own : scratch + static_cast<size_t>(rank) * stride;
    }
    sum_in_rank_order(dtype, inputs_, own, elements);
  }

  // The next rank first, so that not all send to rank 0 at once.
  template <typename Action>
  void for_each_peer(Action action) {
    for (int step = 1; step < size_; ++step) action((rank_ + step) % size_);
  }
  void send_slice(const kernels::Tensor& tensor, int owner, int peer, int tag) {
    const Piece piece = slice(tensor, owner);
    send(piece.data, piece.bytes, peer, tag);
  }
  void send(const void* data, size_t bytes, int peer, int tag) {
    if (bytes == 0) return;
    MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, communicator_->get(),
              &requests_.emplace_back());
  }
  void receive(std::byte* data, size_t bytes, int peer, int tag) {
    if (bytes == 0) return;
    MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, communicator_->get(),
              &requests_.emplace_back());
  }
  std::byte* reserve(size_t bytes) {
    CHECK_LE(bytes, static_cast<size_t>(INT32_MAX));
    if (scratch_.size() < bytes) scratch_.resize(bytes);
    return scratch_.data();
  }

  std::unique_ptr<Communicator> communicator_;
  const int rank_;
  const int size_;
  const Backoff::Policy policy_;
  std::vector<MPI_Request> requests_;  // of the trip under way; kept for its memory, like the two below
  std::vector<std::byte> scratch_;
  std::vector<const void*> inputs_;
};

}  // namespace

std::unique_ptr<TensorGroup> make_mpi_tensor_group(std::unique_ptr<Communicator> communicator,
                                                   LocalRank local) {
  return std::make_unique<MpiTensorGroup>(std::move(communicator), local);
}

}  // namespace batchmax::comm
