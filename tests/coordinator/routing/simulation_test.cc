// The whole path of a request without machines: clients, admission, router, replay, the wire, the groups'
// schedulers, with groups that answer late, lose connections, fall silent, give up and die. A million random
// steps in the normal run, and every invariant at every one. Tokens are a function of request and position,
// so that a lost, repeated or swapped one shows.
//
// Environment: BATCHMAX_SIMULATION_RUNS=n runs of 40,000 steps per world; BATCHMAX_SIMULATION_SEED=s that run
// alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "config/kv_reservation.h"
#include "coordinator/routing/dispatcher.h"
#include "coordinator/routing/group_messages.h"
#include "tests/coordinator/routing/simulated_group.h"

namespace batchmax::coordinator {
namespace {

using namespace std::chrono_literals;

struct World {
  std::vector<int32_t> pages;  // of each group
  int32_t sequences;
  int faults_per_million;
};

config::CompressionSettings server_settings() {
  config::CompressionSettings server;
  server.block = 32;
  server.budget = 128;
  return server;
}

class Simulation {
 public:
  Simulation(const World& world, uint32_t seed)
      : world_(world), random_(seed), dispatcher_({{40, 4000}, 2, 20s}, server_settings()) {
    places_.resize(world.pages.size());
    for (Place& place : places_) start(place);
  }

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      clock_.advance(1ms);
      step();
      check();
    }
    // The faults stop; nobody new comes; groups are back: everything drains.
    for (Place& place : places_) {
      if (!place.group) start(place);
      hush(place, false);
    }
    for (int i = 0; i < 100'000 && busy() && !testing::Test::HasFailure(); ++i) {
      clock_.advance(1ms);
      work(any_place());
      if (i % 100 == 0) tick();
      check();
    }
    EXPECT_FALSE(busy()) << "something never ends";
    EXPECT_TRUE(clients_.empty());
    EXPECT_EQ(dispatcher_.admission().waiting(), 0);
    EXPECT_EQ(dispatcher_.admission().waiting_tokens(), 0);
    for (const auto& [group, ledger] : dispatcher_.admission().groups()) EXPECT_EQ(ledger.reserved(), 0);
    for (const Place& place : places_) EXPECT_EQ(place.group->pages_reserved(), 0);
  }

  int64_t ended() const { return ended_; }
  int64_t replays() const { return static_cast<int64_t>(dispatcher_.replays()); }

 private:
  struct Place {  // of one group name; its starts follow each other
    std::unique_ptr<SimulatedGroup> group;
    GroupId id{};
    bool joined = false;
    bool silent = false;
  };
  struct Client {
    std::vector<int32_t> expected;
    bool stops;  // at a stop id, else at max_tokens
    size_t received = 0;
    bool running = false;  // sent to a group that has not lost it
    GroupId on{};
    uint32_t attempt = 0;
  };

  int32_t pick(int32_t least, int32_t most) {
    return least + static_cast<int32_t>(random_() % static_cast<uint32_t>(most - least + 1));
  }
  Place& any_place() {
    return places_[static_cast<size_t>(pick(0, static_cast<int32_t>(places_.size()) - 1))];
  }

  // ---- what happens
  void step() {
    const int what = pick(0, 99);
    if (what < 12) {
      arrive();
    } else if (what < 14 && !clients_.empty()) {
      leave();
    } else if (what == 14) {
      tick();
    } else {
      work(any_place());
    }
    if (pick(0, 999'999) < world_.faults_per_million) fault(any_place());
    if (pick(0, 2000) == 0) {
      for (Place& place : places_) {
        if (!place.group && pick(0, 1) == 0) start(place);
      }
    }
  }

  void start(Place& place) {
    const auto index = static_cast<size_t>(&place - places_.data());
    place.group = std::make_unique<SimulatedGroup>(
        SimulatedGroup::Size{world_.pages[index], world_.sequences, pick(0, 1)}, server_settings(), clock_,
        static_cast<uint32_t>(random_()));
    join(place);
  }
  void join(Place& place) {
    place.id = GroupId{++joined_};
    place.joined = true;
    place.silent = false;
    dispatcher_.group_up(place.id, place.group->size().pages, place.group->size().sequences);
    act();
  }
  void part(Place& place) {
    place.joined = false;
    for (auto& [id, client] : clients_) {
      if (client.running && client.on == place.id) client.running = false;
    }
    dispatcher_.group_down(place.id, clock_.now(), "fault");
    act();
  }
  void hush(Place& place, bool silent) {
    place.silent = silent;
    dispatcher_.group_silent(place.id, silent);
    act();
  }

  void fault(Place& place) {
    if (!place.group) return start(place);
    switch (pick(0, 3)) {
      case 0:  // dies
        place.group.reset();
        return part(place);
      case 1:  // its connection breaks; it lives on and joins again
        place.group->lose_connection();
        part(place);
        return join(place);
      case 2:
        return hush(place, !place.silent);
      default:
        return place.group->give_up_one(random_);
    }
  }

  void arrive() {
    TokenRequest request;
    const auto mode = static_cast<config::Mode>(pick(0, 2));
    request.compression =
        std::get<config::Compression>(config::resolve(server_settings(), pick(40, 300), mode));
    const int32_t prompt = pick(0, 9) == 0 ? pick(1, 1500) : pick(1, 200);
    request.max_tokens = pick(1, 60);
    request.tokens.assign(static_cast<size_t>(prompt), pick(0, worker::kVocabulary - 1));
    if (pick(0, 1) == 0)
      request.stop_ids = {pick(0, worker::kVocabulary - 1), pick(0, worker::kVocabulary - 1)};
    request.sampling.seed = ++seeds_;
    worker::SequenceRequest alone;
    alone.prompt_length = prompt;
    alone.tokens = request.tokens;
    alone.max_tokens = request.max_tokens;
    alone.stop_ids = request.stop_ids;
    alone.sampling.seed = request.sampling.seed;
    Client client;
    client.expected = worker::expected_output(alone, &client.stops);
    const auto answer = dispatcher_.submit(std::move(request), clock_.now());
    if (const auto* id = std::get_if<uint64_t>(&answer)) clients_.emplace(*id, std::move(client));
    act();
  }

  void leave() {
    auto found = clients_.begin();
    std::advance(found, pick(0, static_cast<int32_t>(clients_.size()) - 1));
    const uint64_t id = found->first;
    clients_.erase(found);
    dispatcher_.cancel(id);
    act();
  }

  void tick() {
    dispatcher_.tick(clock_.now());
    act();
  }

  // One turn of a group, and some of its answers arrive.
  void work(Place& place) {
    if (!place.group || place.silent) return;
    place.group->turn();
    for (int arrivals = pick(0, 12); arrivals > 0; --arrivals) {
      const auto frame = place.group->next_answer();
      if (!frame) break;
      receive(place, *frame);
    }
  }

  void receive(const Place& place, const comm::pb::Frame& frame) {
    if (frame.has_tokens()) {
      const comm::pb::Tokens& sent = frame.tokens();
      const std::vector<int32_t> ids(sent.ids().begin(), sent.ids().end());
      ASSERT_TRUE(dispatcher_.tokens(place.id, sent.request(), sent.attempt(), sent.index(), ids));
    } else if (frame.has_released()) {
      const comm::pb::Released& sent = frame.released();
      ASSERT_TRUE(
          dispatcher_.released(place.id, sent.request(), sent.attempt(), static_cast<int32_t>(sent.pages())));
    } else {
      const comm::pb::Finished& sent = frame.finished();
      const Dispatcher::Finish finish = finish_of(sent);
      const auto client = clients_.find(sent.request());
      if (!finish.reason && client != clients_.end() && client->second.attempt == sent.attempt()) {
        client->second.running = false;
      }
      ASSERT_NE(sent.reason(), comm::pb::FINISH_ERROR) << sent.error();
      dispatcher_.finished(place.id, sent.request(), sent.attempt(), finish);
    }
    act();
  }

  // ---- what the dispatcher wants done
  void act() {
    for (const Action& action : dispatcher_.take_actions()) {
      if (const auto* sent = std::get_if<SendSubmit>(&action)) {
        send_submit(*sent);
      } else if (const auto* cancel = std::get_if<SendCancel>(&action)) {
        if (Place* place = place_of(cancel->group)) place->group->send(to_cancel(cancel->request));
      } else {
        receive_event(std::get<Emit>(action));
      }
    }
  }

  Place* place_of(GroupId id) {
    for (Place& place : places_) {
      if (place.joined && place.id == id) return &place;
    }
    return nullptr;
  }

  void send_submit(const SendSubmit& sent) {
    Place* place = place_of(sent.group);
    ASSERT_NE(place, nullptr) << "sent to a group that is not there";
    ASSERT_FALSE(place->silent) << "sent to a group that is silent";
    ASSERT_TRUE(dispatcher_.runs_on(sent.request, sent.group));
    const TokenLog& log = dispatcher_.log_of(sent.request);
    Client& client = clients_.at(sent.request);
    expect_nobody_older_waits(sent.request);
    EXPECT_GT(log.attempt(), client.attempt);
    EXPECT_EQ(log.emitted(), static_cast<int32_t>(client.received));
    client.running = true;
    client.on = sent.group;
    client.attempt = log.attempt();
    place->group->send(to_submit(sent.request, dispatcher_.request_of(sent.request), log));
  }

  // Fair: unless it could not run on any group that may be sent something.
  void expect_nobody_older_waits(uint64_t request) {
    int32_t largest = 0;
    for (const Place& place : places_) {
      if (place.joined && !place.silent) largest = std::max(largest, place.group->size().pages);
    }
    for (const auto& [id, other] : clients_) {
      if (id >= request) break;
      const TokenLog& log = dispatcher_.log_of(id);
      const int32_t pages = config::reservation(dispatcher_.request_of(id).compression,
                                                static_cast<int32_t>(log.tokens().size()), log.remaining())
                                .pages;
      EXPECT_TRUE(other.running || pages > largest) << id << " was overtaken by " << request;
    }
  }

  void receive_event(const Emit& emit) {
    const auto found = clients_.find(emit.request);
    ASSERT_NE(found, clients_.end()) << "an event after the end, or after the client left";
    Client& client = found->second;
    if (const auto* chunk = std::get_if<TokenChunk>(&emit.event)) {
      for (const int32_t id : chunk->ids) {
        ASSERT_LT(client.received, client.expected.size());
        ASSERT_EQ(id, client.expected[client.received++]);
      }
      return;
    }
    const auto& end = std::get<TokenEnd>(emit.event);
    if (end.reason == FinishReason::error) {
      EXPECT_FALSE(end.error.empty());
    } else {
      EXPECT_EQ(client.received, client.expected.size());
      EXPECT_EQ(end.reason, client.stops ? FinishReason::stop : FinishReason::length);
    }
    ++ended_;
    clients_.erase(found);
  }

  // ---- invariants
  bool busy() const {
    return dispatcher_.open() > 0 || std::any_of(places_.begin(), places_.end(), [](const Place& place) {
             return place.group && place.group->busy();
           });
  }
  void check() {
    for (const auto& [group, ledger] : dispatcher_.admission().groups()) {
      ASSERT_GE(ledger.reserved(), 0);
      ASSERT_LE(ledger.reserved(), ledger.capacity());
      ASSERT_LE(ledger.sequences(), world_.sequences);
    }
    // The books are never more generous than the group: it frees first, then says so.
    for (const Place& place : places_) {
      if (!place.joined) continue;
      ASSERT_GE(dispatcher_.admission().groups().at(place.id).reserved(), place.group->pages_reserved());
    }
    ASSERT_EQ(static_cast<size_t>(dispatcher_.open()), clients_.size());
    // Requests that lost their group come back beyond the queue's bound: they were accepted once.
    ASSERT_LE(dispatcher_.admission().waiting(),
              40 + static_cast<int32_t>(places_.size()) * world_.sequences);
  }

  const World world_;
  std::mt19937 random_;
  monitoring::ManualClock clock_;
  Dispatcher dispatcher_;
  std::vector<Place> places_;
  std::map<uint64_t, Client> clients_;  // of open requests, by id
  uint64_t joined_ = 0, seeds_ = 0;
  int64_t ended_ = 0;
};

int number(const char* variable, int otherwise) {
  const char* value = std::getenv(variable);
  return value == nullptr ? otherwise : std::atoi(value);
}

void simulate(const World& world, int runs) {
  constexpr int kSteps = 40'000;
  const int alone = number("BATCHMAX_SIMULATION_SEED", 0);
  runs = number("BATCHMAX_SIMULATION_RUNS", runs);
  int64_t ended = 0, replays = 0;
  for (int seed = 1; seed <= runs; ++seed) {
    if (alone > 0) seed = alone;
    Simulation simulation(world, static_cast<uint32_t>(seed));
    simulation.run(kSteps);
    if (testing::Test::HasFailure()) {
      const auto* test = testing::UnitTest::GetInstance()->current_test_info();
      FAIL() << "run it again: BATCHMAX_SIMULATION_SEED=" << seed
             << " test_coordinator_routing --gtest_filter=" << test->test_suite_name() << "." << test->name();
    }
    ended += simulation.ended();
    replays += simulation.replays();
    if (alone > 0) return;
  }
  EXPECT_GT(ended, int64_t{runs} * kSteps / 200);
  EXPECT_EQ(replays > 0, world.faults_per_million > 0);
}

// A million steps in all.
TEST(Simulation, OneGroupWithoutFaults) { simulate({{24}, 6, 0}, 5); }
TEST(Simulation, ThreeGroupsWithFaultsNowAndThen) { simulate({{30, 30, 30}, 8, 1000}, 10); }
TEST(Simulation, GroupsOfDifferentSizeWithManyFaults) { simulate({{30, 8, 17}, 4, 10'000}, 10); }

}  // namespace
}  // namespace batchmax::coordinator
