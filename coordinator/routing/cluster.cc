#include "coordinator/routing/cluster.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <unordered_map>

#include "comm/protocol/version.h"
#include "comm/transport/listener.h"
#include "coordinator/routing/dispatcher.h"
#include "coordinator/routing/group_messages.h"
#include "coordinator/routing/registry.h"
#include "coordinator/routing/request_state.h"
#include "coordinator/routing/round_trips.h"
#include "coordinator/routing/worker_group.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
using monitoring::TimePoint;

// How long requests wait for a group that was lost: a restart with its loading of weights.
constexpr std::chrono::seconds kGroupReturn{60};
// A group whose leader lives but whose ranks have not all answered for so long is not healthy. A step of many
// prompt blocks on a slow machine takes seconds.
constexpr std::chrono::seconds kRoundTripLimit{30};
constexpr uint64_t kLongAge = 3'600'000;  // ms: as good as never, and far from overflow

double seconds(monitoring::Duration duration) { return std::chrono::duration<double>(duration).count(); }

Dispatcher::Limits limits_of(const config::Settings& settings) {
  return {
      {settings.max_num_queued_reqs, settings.max_num_queued_tokens}, settings.migration_limit, kGroupReturn};
}

}  // namespace

// Carries out what registry and dispatcher decide.
class Cluster::Implementation final : public WorkerGroup::Owner {
 public:
  Implementation(asio::any_io_executor executor, const config::Settings& settings, std::string secret,
                 monitoring::Metrics& metrics, monitoring::Log log)
      : executor_(std::move(executor)),
        worker_host_(settings.worker_host),
        worker_port_(settings.worker_port),
        secret_(std::move(secret)),
        tls_(comm::listening_tls("worker-ssl", settings.worker_ssl_certfile, settings.worker_ssl_keyfile)),
        metrics_(metrics),
        log_(std::move(log)),
        registry_(config::shared_digest(settings)),
        dispatcher_(limits_of(settings), settings.compression),
        watch_timer_(executor_),
        last_watch_(clock_.now()) {
    arm_watch();
  }

  ~Implementation() override {
    for (const auto& connected : served_) {
      if (const auto group = connected.lock()) group->drop();
    }
    for (const auto& [request, state] : states_) state->abandon();
  }

  uint16_t listen() {
    comm::ListenOptions options;
    options.tls = tls_;
    listener_ = std::make_unique<comm::Listener>(executor_, worker_host_, static_cast<uint16_t>(worker_port_),
                                                 secret_, options, log_);
    listener_->start([this](std::shared_ptr<comm::Connection> connection) {
      std::erase_if(served_, [](const auto& group) { return group.expired(); });
      served_.push_back(WorkerGroup::serve(std::move(connection), *this, clock_));
    });
    return listener_->port();
  }

  std::variant<RequestHandle, Rejection> submit(TokenRequest request) {
    const TimePoint now = clock_.now();
    std::variant<uint64_t, Rejection> answer =
        Rejection{Rejection::Kind::draining, "The server is shutting down."};
    if (!draining_) answer = dispatcher_.submit(std::move(request), now);
    if (auto* rejection = std::get_if<Rejection>(&answer)) {
      metrics_.request_rejected(name_of(rejection->kind));
      return std::move(*rejection);
    }
    const uint64_t id = std::get<uint64_t>(answer);
    auto state = std::make_shared<RequestHandle::State>(
        executor_, now, [this, id](FinishReason reason) { leave(id, reason); });
    states_.emplace(id, state);
    perform();
    return RequestHandle(std::move(state));
  }

  std::optional<ModelFacts> model() const { return registry_.model(); }
  std::vector<GroupStatus> groups() const {
    std::vector<GroupStatus> all;
    for (const auto& [name, status] : statuses_) {
      all.push_back(status);
      const auto found = std::find_if(groups_.begin(), groups_.end(), [&n = name](const auto& entry) {
        return entry.second.group->name() == n;
      });
      all.back().connected = found != groups_.end();
      all.back().healthy = found != groups_.end() && healthy(found->second);
    }
    return all;
  }
  int32_t healthy_groups() const {
    return static_cast<int32_t>(std::count_if(groups_.begin(), groups_.end(),
                                              [this](const auto& entry) { return healthy(entry.second); }));
  }
  int32_t requests_open() const { return dispatcher_.open(); }
  int32_t requests_waiting() const { return dispatcher_.admission().waiting(); }
  void stop_accepting() { draining_ = true; }

  // Null: there is no group to ask.
  std::shared_ptr<RoundTrips> ping() {
    if (groups_.empty()) return nullptr;
    if (const uint64_t id = round_trips_->begin(clock_.now())) {
      comm::pb::Frame frame;
      frame.mutable_ping()->set_id(id);
      for (const auto& [group, connected] : groups_) connected.group->send(frame);
    }
    return round_trips_;
  }
  asio::any_io_executor executor() const { return executor_; }

  void close() {
    draining_ = closed_ = true;
    if (listener_) listener_->close();
    dispatcher_.end_all("The server is shutting down.");
    perform();
    for (const auto& [id, connected] : std::exchange(groups_, {})) {
      registry_.leave(id);
      metrics_.group_up(connected.group->name(), false,
                        static_cast<double>(connected.group->hello().epoch()));
      connected.group->drain();
    }
  }

  // ---- WorkerGroup::Owner
  std::variant<GroupId, std::string> join(const std::shared_ptr<WorkerGroup>& group) override {
    const comm::pb::Hello& hello = group->hello();
    // A group that is lost while others finish may come back: what it ran waits for it.
    if (closed_) return "the coordinator is shutting down";
    auto answer = registry_.join(hello);
    if (auto* refused = std::get_if<Registry::Refused>(&answer)) {
      log_.warning("group refused", {{"group", hello.group()}, {"reason", refused->reason}});
      return std::move(refused->reason);
    }
    const auto joined = std::get<Registry::Joined>(answer);
    if (joined.replaced) drop(*joined.replaced, "a new connection of the group took its place");
    groups_.emplace(joined.group, Connected{group, clock_.now()});
    GroupStatus& status = statuses_[hello.group()];
    if (status.epoch != hello.epoch()) status = {hello.group(), hello.epoch(), false, false, 0, {}};
    return joined.group;
  }

  void joined(WorkerGroup& group) override {
    const comm::pb::Hello& hello = group.hello();
    log_.info("group up", {{"group", hello.group()},
                           {"epoch", hello.epoch()},
                           {"tensor_parallel", hello.tensor_parallel()},
                           {"pages", hello.capacity_pages()},
                           {"max_model_len", hello.max_model_len()}});
    metrics_.group_up(hello.group(), true, static_cast<double>(hello.epoch()));
    dispatcher_.group_up(group.id(), static_cast<int32_t>(hello.capacity_pages()),
                         static_cast<int32_t>(hello.max_num_seqs()));
    perform();
  }

  bool receive(WorkerGroup& group, const comm::pb::Frame& frame) override {
    bool possible = true;
    switch (frame.body_case()) {
      case comm::pb::Frame::kTokens: {
        const comm::pb::Tokens& tokens = frame.tokens();
        const std::vector<int32_t> ids(tokens.ids().begin(), tokens.ids().end());
        const uint32_t vocabulary = group.hello().vocab_size();
        auto logprobs = logprobs_of(tokens.logprobs(), vocabulary);
        possible = logprobs &&
                   std::all_of(tokens.ids().begin(), tokens.ids().end(),
                               [vocabulary](uint32_t id) { return id < vocabulary; }) &&
                   dispatcher_.tokens(group.id(), tokens.request(), tokens.attempt(), tokens.index(), ids,
                                      *std::move(logprobs));
        break;
      }
      case comm::pb::Frame::kPromptLogprobs: {
        const comm::pb::PromptLogprobs& sent = frame.prompt_logprobs();
        auto logprobs = logprobs_of(sent.logprobs(), group.hello().vocab_size());
        possible = logprobs && dispatcher_.prompt_logprobs(group.id(), sent.request(), sent.attempt(),
                                                           sent.position(), *std::move(logprobs));
        break;
      }
      case comm::pb::Frame::kReleased: {
        const comm::pb::Released& released = frame.released();
        possible = dispatcher_.released(group.id(), released.request(), released.attempt(),
                                        static_cast<int32_t>(released.pages()));
        break;
      }
      case comm::pb::Frame::kFinished: {
        const comm::pb::Finished& finished = frame.finished();
        if (finished.reason() == comm::pb::FINISH_STOP || finished.reason() == comm::pb::FINISH_LENGTH) {
          ++statuses_.at(group.name()).requests_served;
        }
        dispatcher_.finished(group.id(), finished.request(), finished.attempt(), finish_of(finished));
        break;
      }
      case comm::pb::Frame::kLoad: {
        monitoring::GroupFigures& figures = statuses_.at(group.name()).figures;
        figures = figures_of(group.hello(), frame.load());
        metrics_.group_figures(group.name(), figures);
        break;
      }
      case comm::pb::Frame::kHeartbeat:
        groups_.at(group.id()).last_round_trip =
            clock_.now() -
            std::chrono::milliseconds(std::min(frame.heartbeat().round_trip_age_ms(), kLongAge));
        break;
      case comm::pb::Frame::kPong:
        round_trips_->pong(frame.pong().id());
        break;
      default:
        possible = false;
    }
    perform();
    return possible;
  }

  void lost(WorkerGroup& group, const std::string& why) override {
    drop(group.id(), why);
    perform();
  }

 private:
  struct Connected {
    std::shared_ptr<WorkerGroup> group;
    TimePoint last_round_trip;
  };
  bool healthy(const Connected& connected) const {
    return clock_.now() - connected.last_round_trip < kRoundTripLimit;
  }

  void drop(GroupId id, const std::string& why) {
    const auto found = groups_.find(id);
    if (found == groups_.end()) return;
    const std::shared_ptr<WorkerGroup> group = found->second.group;
    groups_.erase(found);
    group->drop();
    registry_.leave(id);
    metrics_.group_up(group->name(), false, static_cast<double>(group->hello().epoch()));
    log_.error("group lost", {{"group", group->name()}, {"epoch", group->hello().epoch()}, {"reason", why}});
    // One that could not be told that it had joined was never up.
    if (dispatcher_.admission().groups().contains(id)) dispatcher_.group_down(id, clock_.now(), why);
  }

  // A group that fails while this runs makes more actions: they are done after the ones at hand.
  void perform() {
    if (performing_) return;
    performing_ = true;
    for (auto actions = dispatcher_.take_actions(); !actions.empty(); actions = dispatcher_.take_actions()) {
      for (Action& action : actions) std::visit([this](auto& what) { act(what); }, action);
    }
    performing_ = false;
    metrics_.requests_waiting(dispatcher_.admission().waiting(),
                              static_cast<double>(dispatcher_.admission().waiting_tokens()));
  }

  void act(const SendSubmit& what) {
    if (!dispatcher_.runs_on(what.request, what.group)) return;  // its group failed a moment ago
    send(what.group,
         to_submit(what.request, dispatcher_.request_of(what.request), dispatcher_.log_of(what.request)));
  }
  void act(const SendCancel& what) { send(what.group, to_cancel(what.request)); }

  void act(Emit& what) {
    const auto found = states_.find(what.request);
    if (found == states_.end()) return;
    const std::shared_ptr<RequestHandle::State> state = found->second;
    const TimePoint now = clock_.now();
    if (const auto* end = std::get_if<TokenEnd>(&what.event)) {
      metrics_.request_finished(name_of(end->reason), seconds(now - state->accepted));
      states_.erase(found);
    } else if (std::holds_alternative<TokenChunk>(what.event)) {
      if (state->last_token) {
        metrics_.inter_token(seconds(now - *state->last_token));
      } else {
        metrics_.first_token(seconds(now - state->accepted));
      }
      state->last_token = now;
    }
    state->push(std::move(what.event));
  }

  void send(GroupId id, const comm::pb::Frame& frame) {
    const auto found = groups_.find(id);
    if (found == groups_.end()) return;
    if (!found->second.group->send(frame)) drop(id, "it does not take what is sent to it");
  }

  // The handle has gone.
  void leave(uint64_t request, FinishReason reason) {
    const auto found = states_.find(request);
    if (found == states_.end()) return;
    metrics_.request_finished(name_of(reason), seconds(clock_.now() - found->second->accepted));
    states_.erase(found);
    dispatcher_.cancel(request);
    perform();
  }

  void arm_watch() {
    watch_timer_.expires_after(comm::kHeartbeatInterval);
    watch_timer_.async_wait(
        [this, alive = std::weak_ptr<bool>(alive_)](const boost::system::error_code& cancelled) {
          if (cancelled || alive.expired()) return;
          watch();
          arm_watch();
        });
  }

  void watch() {
    const TimePoint now = clock_.now();
    // A process that stood still itself (stopped, starved) has heartbeats of that time still to read.
    if (now - last_watch_ > 2 * comm::kHeartbeatInterval) heard_at_least_ = now;
    last_watch_ = now;
    std::vector<GroupId> silent;
    for (const auto& [id, connected] : groups_) {
      metrics_.group_silence(connected.group->name(), seconds(now - connected.group->last_heard()),
                             seconds(now - connected.last_round_trip));
      const auto silence = now - std::max(connected.group->last_heard(), heard_at_least_);
      if (silence > comm::kHeartbeatsMissed * comm::kHeartbeatInterval) silent.push_back(id);
      if (dispatcher_.admission().groups().contains(id)) {
        dispatcher_.group_silent(id, silence > 2 * comm::kHeartbeatInterval);
      }
    }
    for (const GroupId id : silent) drop(id, "no heartbeat for a second");
    dispatcher_.tick(now);
    perform();
    const WaitingFor what = dispatcher_.admission().waiting_for();
    metrics_.requests_waiting_for(what.pages, what.sequences, what.group);
    metrics_.requests_replayed(static_cast<double>(dispatcher_.replays()));
  }

  const asio::any_io_executor executor_;
  const std::string worker_host_;
  const int32_t worker_port_;
  const std::string secret_;
  const comm::TlsContext tls_;  // null: plain TCP
  monitoring::Metrics& metrics_;
  const monitoring::Log log_;
  const monitoring::SteadyClock clock_;
  Registry registry_;
  Dispatcher dispatcher_;
  std::unique_ptr<comm::Listener> listener_;
  std::vector<std::weak_ptr<WorkerGroup>> served_;  // all connections, before and after they joined
  std::map<GroupId, Connected> groups_;             // those that have joined
  std::map<std::string, GroupStatus> statuses_;  // by name, of all that ever joined; healthy is not kept here
  std::unordered_map<uint64_t, std::shared_ptr<RequestHandle::State>> states_;  // of open requests
  std::shared_ptr<RoundTrips> round_trips_ = std::make_shared<RoundTrips>();
  bool performing_ = false;
  bool draining_ = false;  // takes no new request
  bool closed_ = false;    // nor groups
  asio::steady_timer watch_timer_;
  TimePoint last_watch_;
  TimePoint heard_at_least_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks that may come after the end
};

Cluster::Cluster(asio::any_io_executor executor, const config::Settings& settings, std::string secret,
                 monitoring::Metrics& metrics, monitoring::Log log)
    : implementation_(std::make_unique<Implementation>(std::move(executor), settings, std::move(secret),
                                                       metrics, std::move(log))) {}
Cluster::~Cluster() = default;

uint16_t Cluster::listen() { return implementation_->listen(); }
std::variant<RequestHandle, Rejection> Cluster::submit(TokenRequest request) {
  return implementation_->submit(std::move(request));
}
std::optional<ModelFacts> Cluster::model() const { return implementation_->model(); }
std::vector<GroupStatus> Cluster::groups() const { return implementation_->groups(); }
int32_t Cluster::healthy_groups() const { return implementation_->healthy_groups(); }
void Cluster::stop_accepting() { implementation_->stop_accepting(); }
int32_t Cluster::requests_open() const { return implementation_->requests_open(); }
int32_t Cluster::requests_waiting() const { return implementation_->requests_waiting(); }
void Cluster::close() { implementation_->close(); }

asio::awaitable<bool> Cluster::health(std::chrono::milliseconds timeout) {
  std::shared_ptr<RoundTrips> round_trips = implementation_->ping();
  if (!round_trips) co_return false;
  const bool answered = co_await RoundTrips::wait(round_trips, implementation_->executor(), timeout);
  co_return answered;
}

}  // namespace batchmax::coordinator
