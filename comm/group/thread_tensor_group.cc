// Every rank shows where its tensors are, all meet, each sums up its own slice of every tensor and writes it
// into the tensors of all ranks, all meet again. No copies, and no two threads write to one cache line.
#include <array>
#include <cstring>

#include "comm/group/rank_order_sum.h"
#include "comm/group/rendezvous.h"
#include "comm/group/tensor_group.h"
#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

struct Shared {
  explicit Shared(int n) : size(n), rendezvous(n), shown(static_cast<size_t>(n)) {}
  const int size;
  Rendezvous rendezvous;
  std::vector<std::span<const kernels::Tensor>> shown;  // by rank; valid between the two meetings of a call
};

class ThreadTensorGroup final : public TensorGroup {
 public:
  ThreadTensorGroup(std::shared_ptr<Shared> shared, int rank)
      : shared_(std::move(shared)), rank_(rank), inputs_(static_cast<size_t>(shared_->size)) {}
  ~ThreadTensorGroup() override { shared_->rendezvous.leave(); }

  int rank() const override { return rank_; }
  int size() const override { return shared_->size; }

  void all_reduce(const kernels::Stream& stream, std::span<const kernels::Tensor> tensors) override {
    CHECK(stream.backend() == kernels::Backend::cpu);
    if (size() == 1) return;
    show(tensors);
    for (size_t t = 0; t < tensors.size(); ++t) reduce_slice(t);
    shared_->rendezvous.meet();
  }

  void all_gather(const kernels::Stream& stream, const kernels::Tensor& part,
                  const kernels::Tensor& whole) override {
    CHECK(stream.backend() == kernels::Backend::cpu);
    CHECK(part.dtype() == whole.dtype());
    CHECK_EQ(part.dim(0), whole.dim(0));
    CHECK_EQ(part.dim(1) * size(), whole.dim(1));
    show(std::span(&part, 1));
    const size_t piece = static_cast<size_t>(part.dim(1)) * kernels::size_of(part.dtype());
    auto* target = static_cast<std::byte*>(whole.data());
    for (int64_t row = 0; row < part.dim(0); ++row) {
      for (const auto& shown : shared_->shown) {
        CHECK_EQ(shown[0].describe(), part.describe());
        std::memcpy(target, static_cast<const std::byte*>(shown[0].data()) + static_cast<size_t>(row) * piece,
                    piece);
        target += piece;
      }
    }
    shared_->rendezvous.meet();
  }

 private:
  void show(std::span<const kernels::Tensor> tensors) {
    shared_->shown[static_cast<size_t>(rank_)] = tensors;
    shared_->rendezvous.meet();
  }

  void reduce_slice(size_t t) {
    const kernels::Tensor& mine = shared_->shown[static_cast<size_t>(rank_)][t];
    const size_t width = kernels::size_of(mine.dtype());
    const Slice slice = slice_of(static_cast<size_t>(mine.elements()), rank_, size());
    for (size_t rank = 0; rank < inputs_.size(); ++rank) {
      const auto& theirs = shared_->shown[rank];
      CHECK_LT(t, theirs.size());
      CHECK_EQ(theirs[t].describe(), mine.describe());
      inputs_[rank] = static_cast<const std::byte*>(theirs[t].data()) + slice.begin * width;
    }
    void* sum = static_cast<std::byte*>(mine.data()) + slice.begin * width;
    sum_in_rank_order(mine.dtype(), inputs_, sum, slice.elements());
    for (size_t rank = 0; rank < inputs_.size(); ++rank) {
      if (static_cast<int>(rank) == rank_) continue;
      auto* target = static_cast<std::byte*>(shared_->shown[rank][t].data()) + slice.begin * width;
      std::memcpy(target, sum, slice.elements() * width);
    }
  }

  std::shared_ptr<Shared> shared_;
  const int rank_;
  std::vector<const void*> inputs_;  // by rank; kept for its memory
};

}  // namespace

std::vector<std::unique_ptr<TensorGroup>> make_thread_tensor_groups(int size) {
  CHECK_GE(size, 1);
  auto shared = std::make_shared<Shared>(size);
  std::vector<std::unique_ptr<TensorGroup>> members;
  for (int rank = 0; rank < size; ++rank)
    members.push_back(std::make_unique<ThreadTensorGroup>(shared, rank));
  return members;
}

}  // namespace batchmax::comm
