// Bytes travel in chunks that are small enough for MPI to deliver without the receiver's help ("eagerly"): so
// the leader may send a plan and go on while the others still work, whatever moves the tensors.
#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <thread>

#include "comm/group/doorbell.h"
#include "comm/group/mpi_group.h"
#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

using Bytes = std::vector<std::byte>;

// Below Open MPI's smallest default eager limit (4,096 bytes with its headers, shared memory).
constexpr size_t kChunkBytes = 3840;
constexpr size_t kLengthBytes = sizeof(uint64_t);  // leads a message's first chunk
constexpr int kDown = 1;                           // tags: from rank 0, to rank 0
constexpr int kUp = 2;
// Sends that MPI could not deliver at once are kept; more of them than any look-ahead needs would be a leak.
constexpr size_t kMostPending = 64;
// MPI keeps some 100 chunks for a receiver that is busy elsewhere (400 KB with Open MPI 4.1 on one machine);
// the rest moves only while the sender calls MPI. A leader that waits for its GPU makes no such calls, and
// the others could not join the step it waits for: so it sees a long message off first.
constexpr size_t kMostUnwaited = 64 * 1024;

// Without a doorbell: asked rarely enough to cost an idle core little, often enough to be back at work in
// time. With one: a step's follower is hot while the leader plans the next step; the sleep ends early, and
// its limit only bounds what an unheard ring would cost.
constexpr std::chrono::microseconds kHot{500};
constexpr std::chrono::microseconds kLongestSleep{1500};
constexpr std::chrono::milliseconds kLongestListening{200};

struct Sending {
  Bytes message;  // with its length in front; MPI reads it until the requests are done
  std::vector<MPI_Request> requests;
};

class MpiControlGroup final : public ControlGroup {
 public:
  MpiControlGroup(std::unique_ptr<Communicator> communicator, LocalRank local)
      : communicator_(std::move(communicator)),
        bell_(*communicator_),
        rank_(communicator_->rank()),
        size_(communicator_->size()),
        local_(local),
        policy_{local.size > usable_cores() ? std::chrono::microseconds(0) : std::chrono::microseconds(20),
                kHot, kLongestSleep} {}
  ~MpiControlGroup() override {
    for (Sending& sending : pending_) wait_all(sending.requests, policy_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_.rank; }
  int local_size() const override { return local_.size; }

  Bytes broadcast(Bytes bytes) override {
    if (rank_ != 0) return receive(0, kDown);
    if (size_ > 1) {
      Sending& sending = prepare(bytes);
      for (int receiver = 1; receiver < size_; ++receiver) post(sending, receiver, kDown);
      bell_.ring();
      see_off(sending);
    }
    return bytes;
  }

  std::vector<Bytes> gather(Bytes bytes) override {
    if (rank_ != 0) {
      Sending& sending = prepare(bytes);
      post(sending, 0, kUp);
      see_off(sending);
      return {};
    }
    std::vector<Bytes> all;
    all.push_back(std::move(bytes));
    for (int sender = 1; sender < size_; ++sender) all.push_back(receive(sender, kUp));
    return all;
  }

  void barrier() override {
    std::vector<MPI_Request> request(1);
    MPI_Ibarrier(communicator_->get(), request.data());
    wait_all(request, policy_);
  }

 private:
  Sending& prepare(const Bytes& bytes) {
    Sending& sending = pending_.emplace_back();
    const uint64_t length = bytes.size();
    sending.message.resize(kLengthBytes + bytes.size());
    std::memcpy(sending.message.data(), &length, kLengthBytes);
    if (!bytes.empty()) std::memcpy(sending.message.data() + kLengthBytes, bytes.data(), bytes.size());
    return sending;
  }

  void post(Sending& sending, int receiver, int tag) {
    for (size_t begin = 0; begin < sending.message.size(); begin += kChunkBytes) {
      const size_t count = std::min(kChunkBytes, sending.message.size() - begin);
      MPI_Isend(sending.message.data() + begin, static_cast<int>(count), MPI_BYTE, receiver, tag,
                communicator_->get(), &sending.requests.emplace_back());
    }
  }

  void see_off(Sending& sending) {
    if (sending.message.size() > kMostUnwaited) wait_all(sending.requests, policy_);
    settle();
  }

  // Drops what has been delivered. The rest MPI delivers during later calls.
  void settle() {
    while (!pending_.empty()) {
      std::vector<MPI_Request>& requests = pending_.front().requests;
      if (pending_.size() > kMostPending) {
        wait_all(requests, policy_);
      } else {
        int done = 0;
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
        if (done == 0) return;
      }
      pending_.pop_front();
    }
  }

  Bytes receive(int sender, int tag) {
    size_t count = receive_chunk(sender, tag);
    uint64_t length = 0;
    CHECK_GE(count, kLengthBytes);
    std::memcpy(&length, chunk_.data(), kLengthBytes);
    Bytes bytes(length);
    size_t have = count - kLengthBytes;
    CHECK_LE(have, bytes.size());
    if (have > 0) std::memcpy(bytes.data(), chunk_.data() + kLengthBytes, have);
    while (have < bytes.size()) {
      count = receive_chunk(sender, tag);
      CHECK_LE(have + count, bytes.size());
      std::memcpy(bytes.data() + have, chunk_.data(), count);
      have += count;
    }
    return bytes;
  }

  size_t receive_chunk(int sender, int tag) {
    std::optional<Backoff> backoff(policy_);
    for (;;) {
      const uint32_t rings = bell_.rings();
      MPI_Status status;
      if (probe(sender, tag, status)) {
        int count = 0;
        MPI_Get_count(&status, MPI_BYTE, &count);
        CHECK_LE(static_cast<size_t>(count), chunk_.size());
        MPI_Recv(chunk_.data(), count, MPI_BYTE, sender, tag, communicator_->get(), MPI_STATUS_IGNORE);
        return static_cast<size_t>(count);
      }
      if (!pending_.empty()) settle();
      const std::chrono::microseconds sleep = backoff->next();
      if (sleep.count() == 0) continue;
      if (sender == 0 && bell_.audible() && pending_.empty()) {
        bell_.wait(rings, kLongestListening);
        if (bell_.rings() != rings) backoff.emplace(policy_);
      } else {
        std::this_thread::sleep_for(sleep);
      }
    }
  }

  // Open MPI looks first and takes in what has arrived after that: only the second look sees it.
  bool probe(int sender, int tag, MPI_Status& status) const {
    int there = 0;
    for (int look = 0; look < 2 && there == 0; ++look) {
      MPI_Iprobe(sender, tag, communicator_->get(), &there, &status);
    }
    return there != 0;
  }

  std::unique_ptr<Communicator> communicator_;
  Doorbell bell_;
  const int rank_;
  const int size_;
  const LocalRank local_;
  const Backoff::Policy policy_;
  std::deque<Sending> pending_;
  Bytes chunk_ = Bytes(kChunkBytes);
};

}  // namespace

std::unique_ptr<ControlGroup> make_mpi_control_group(std::unique_ptr<Communicator> communicator,
                                                     LocalRank local) {
  return std::make_unique<MpiControlGroup>(std::move(communicator), local);
}

}  // namespace batchmax::comm
