// A whole group inside the test: leader session on its I/O thread, a step thread per rank, a hash chain for a
// model (tests/support/chain_replica.h).
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"
#include "tests/support/chain_replica.h"
#include "worker/leader/session.h"

namespace batchmax::worker {

class InProcessGroup {
 public:
  // settings.worker_port: where it dials. It runs until the coordinator tells it to end, or cannot be found.
  InProcessGroup(config::Settings settings, std::string name, std::string secret, const ChainOptions& options)
      : settings_(std::move(settings)) {
    const auto ranks = static_cast<size_t>(settings_.tensor_parallel_size);
    controls_ = comm::make_thread_control_groups(settings_.tensor_parallel_size);
    tensors_ = comm::make_thread_tensor_groups(settings_.tensor_parallel_size);
    for (size_t rank = 0; rank < ranks; ++rank) {
      progress_.push_back(std::make_unique<monitoring::Progress>(clock_));
      replicas_.push_back(make_chain_replica(settings_, *tensors_[rank], *progress_[rank], options));
    }
    comm::DialOptions dial;
    dial.first_pause = std::chrono::milliseconds(5);
    dial.handshake_limit = std::chrono::milliseconds(2000);
    session_ = std::make_unique<Session>(
        Session::Parts{settings_, replicas_[0]->executor().facts(), std::move(name), 1, std::move(secret),
                       inbox_, outbox_, board_, clock_, monitoring::Log::silent(), dial});
    loop_ = std::make_unique<LeaderLoop>(replicas_[0]->scheduler_limits(), *controls_[0],
                                         replicas_[0]->executor(), inbox_, outbox_, board_, *progress_[0],
                                         clock_, monitoring::Log::silent());
    threads_.emplace_back([this] { result_ = session_->run(); });
    threads_.emplace_back([this] { loop_->run(); });
    for (size_t rank = 1; rank < ranks; ++rank) {
      threads_.emplace_back(
          [this, rank] { run_follower(*controls_[rank], replicas_[rank]->executor(), *progress_[rank]); });
    }
  }

  // Waits for its end.
  SessionResult join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return result_;
  }
  ~InProcessGroup() { join(); }

 private:
  const config::Settings settings_;
  const monitoring::SteadyClock clock_;
  std::vector<std::unique_ptr<comm::ControlGroup>> controls_;
  std::vector<std::unique_ptr<comm::TensorGroup>> tensors_;
  std::vector<std::unique_ptr<monitoring::Progress>> progress_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  Inbox inbox_{256};
  Outbox outbox_{4096};
  GroupReportBoard board_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<LeaderLoop> loop_;
  SessionResult result_;
  std::vector<std::thread> threads_;
};

}  // namespace batchmax::worker
