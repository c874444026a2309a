#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>

#include "comm/group/control_group.h"
#include "comm/group/rendezvous.h"
#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

using Bytes = std::vector<std::byte>;

// First-in first-out bytes from one rank to one other.
struct Way {
  std::deque<Bytes> messages;
  bool sender_left = false;
};

struct Shared {
  explicit Shared(int n) : size(n), rendezvous(n), to(static_cast<size_t>(n)), from(static_cast<size_t>(n)) {}
  const int size;
  Rendezvous rendezvous;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Way> to;    // from rank 0, by receiver
  std::vector<Way> from;  // to rank 0, by sender
};

class ThreadControlGroup final : public ControlGroup {
 public:
  ThreadControlGroup(std::shared_ptr<Shared> shared, int rank) : shared_(std::move(shared)), rank_(rank) {}
  ~ThreadControlGroup() override {
    shared_->rendezvous.leave();
    const std::scoped_lock lock(shared_->mutex);
    if (rank_ == 0) {
      for (Way& way : shared_->to) way.sender_left = true;
    } else {
      mine(shared_->from).sender_left = true;
    }
    shared_->changed.notify_all();
  }

  int rank() const override { return rank_; }
  int size() const override { return shared_->size; }
  int local_rank() const override { return rank_; }
  int local_size() const override { return shared_->size; }

  Bytes broadcast(Bytes bytes) override {
    std::unique_lock lock(shared_->mutex);
    if (rank_ != 0) return take(lock, mine(shared_->to));
    for (size_t receiver = 1; receiver < shared_->to.size(); ++receiver) {
      shared_->to[receiver].messages.push_back(bytes);
    }
    shared_->changed.notify_all();
    return bytes;
  }

  std::vector<Bytes> gather(Bytes bytes) override {
    std::unique_lock lock(shared_->mutex);
    if (rank_ != 0) {
      mine(shared_->from).messages.push_back(std::move(bytes));
      shared_->changed.notify_all();
      return {};
    }
    std::vector<Bytes> all;
    all.push_back(std::move(bytes));
    for (size_t sender = 1; sender < shared_->from.size(); ++sender) {
      all.push_back(take(lock, shared_->from[sender]));
    }
    return all;
  }

  void barrier() override { shared_->rendezvous.meet(); }

 private:
  Way& mine(std::vector<Way>& ways) const { return ways[static_cast<size_t>(rank_)]; }
  Bytes take(std::unique_lock<std::mutex>& lock, Way& way) {
    shared_->changed.wait(lock, [&] { return !way.messages.empty() || way.sender_left; });
    if (way.messages.empty()) throw std::runtime_error("a rank of this group has gone");
    Bytes bytes = std::move(way.messages.front());
    way.messages.pop_front();
    return bytes;
  }

  std::shared_ptr<Shared> shared_;
  const int rank_;
};

}  // namespace

std::vector<std::unique_ptr<ControlGroup>> make_thread_control_groups(int size) {
  CHECK_GE(size, 1);
  auto shared = std::make_shared<Shared>(size);
  std::vector<std::unique_ptr<ControlGroup>> members;
  for (int rank = 0; rank < size; ++rank)
    members.push_back(std::make_unique<ThreadControlGroup>(shared, rank));
  return members;
}

}  // namespace batchmax::comm
