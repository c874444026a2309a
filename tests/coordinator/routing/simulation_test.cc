// The dispatcher among groups that work, answer late, lose connections and die, and clients that come and go:
// a million random steps, with the invariants checked at every one. Tokens are a function of prompt and
// position, so that a lost, repeated or swapped one shows.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "config/kv_reservation.h"
#include "coordinator/routing/dispatcher.h"

namespace batchmax::coordinator {
namespace {

using namespace std::chrono_literals;

int32_t token_at(int32_t prompt_seed, int32_t position) {
  return static_cast<int32_t>(
      (static_cast<uint32_t>(prompt_seed) * 2654435761U + static_cast<uint32_t>(position) * 40503U) % 30000U);
}

struct World {
  int32_t groups;
  std::vector<int32_t> capacities;
  int32_t max_sequences;
  int deaths_per_million;
};

class Simulation {
 public:
  Simulation(const World& world, uint32_t seed)
      : world_(world), random_(seed), dispatcher_({{40, 4000}, 2, 20s}, config::CompressionSettings{}) {
    for (int32_t i = 0; i < world.groups; ++i) places_.emplace_back();
    for (size_t i = 0; i < places_.size(); ++i) start(i);
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      clock_.advance(1ms);
      step();
      check();
    }
    // The faults stop; nobody new comes; groups are back: everything drains.
    faults_ = false;
    for (size_t i = 0; i < places_.size(); ++i) {
      if (!places_[i].up) start(i);
    }
    for (int i = 0; i < 400'000 && (dispatcher_.open() > 0 || busy()); ++i) {
      clock_.advance(1ms);
      work(pick(0, world_.groups - 1));
      if (i % 100 == 0) tick();
      check();
    }
    EXPECT_EQ(dispatcher_.open(), 0);
    EXPECT_TRUE(clients_.empty());
    EXPECT_EQ(dispatcher_.admission().waiting(), 0);
    EXPECT_EQ(dispatcher_.admission().waiting_tokens(), 0);
    for (const auto& [group, ledger] : dispatcher_.admission().groups()) EXPECT_EQ(ledger.reserved(), 0);
  }

  int64_t ended() const { return ended_; }
  int64_t replays() const { return replays_; }
  int64_t errors() const { return errors_; }

 private:
  // ---- a group's side
  struct Sequence {
    uint64_t request;
    uint32_t attempt;
    int32_t prompt_seed;
    int32_t emitted;
    int32_t max_tokens;
    int32_t stop_at;  // output index at which it draws a stop id; -1: never
    int32_t pages;
    int32_t pages_after_prompt;
    bool prompt_done = false;
    bool cancelled = false;
  };
  struct Place {  // of one group name; its starts follow each other
    bool up = false;
    GroupId group{};
    int32_t capacity = 0;
    int32_t used = 0;
    std::vector<Sequence> sequences;
    std::deque<std::function<void()>> answers;  // on their way, in order
  };
  // ---- a client's side
  struct Client {
    int32_t prompt_seed;
    int32_t stop_at;
    int32_t max_tokens;
    int32_t received = 0;
    bool running = false;  // as the test sees it: sent to a group
    uint32_t attempt = 0;
  };

  int32_t pick(int32_t least, int32_t most) {
    return least + static_cast<int32_t>(random_() % static_cast<uint32_t>(most - least + 1));
  }

  void start(size_t index) {
    Place& place = places_[index];
    place = Place{};
    place.up = true;
    place.group = GroupId{++starts_};
    place.capacity = world_.capacities[index % world_.capacities.size()];
    dispatcher_.group_up(place.group, place.capacity, world_.max_sequences);
    act();
  }

  void die(size_t index) {
    Place& place = places_[index];
    place.up = false;
    place.answers.clear();
    place.sequences.clear();
    for (auto& [id, client] : clients_) {
      if (client.running && on_.at(id) == place.group) client.running = false;
    }
    dispatcher_.group_down(place.group, clock_.now(), "fault");
    act();
  }

  void step() {
    const int what = pick(0, 99);
    if (what < 12) {
      arrive();
    } else if (what < 14 && !clients_.empty()) {
      leave();
    } else if (what == 14) {
      tick();
    } else {
      work(pick(0, world_.groups - 1));
    }
    if (pick(0, 999'999) < world_.deaths_per_million) {
      const auto index = static_cast<size_t>(pick(0, world_.groups - 1));
      if (places_[index].up) {
        die(index);
      } else {
        start(index);
      }
    }
    if (pick(0, 2000) == 0) {
      for (size_t i = 0; i < places_.size(); ++i) {
        if (!places_[i].up && pick(0, 1) == 0) start(i);
      }
    }
  }

  void arrive() {
    TokenRequest request;
    config::CompressionSettings server;
    server.block = 32;
    server.budget = 128;
    request.compression = std::get<config::Compression>(
        config::resolve(server, pick(40, 300), static_cast<config::Mode>(pick(0, 2))));
    const int32_t prompt = pick(0, 9) == 0 ? pick(1, 1500) : pick(1, 200);
    request.max_tokens = pick(1, 60);
    Client client;
    client.prompt_seed = pick(0, 1'000'000);
    client.max_tokens = request.max_tokens;
    client.stop_at = pick(0, 2) == 0 ? pick(0, request.max_tokens - 1) : -1;
    request.tokens.assign(static_cast<size_t>(prompt), client.prompt_seed);
    // The group reads the stop position off the request.
    request.stop_ids = {client.stop_at};
    const auto answer = dispatcher_.submit(std::move(request), clock_.now());
    if (const auto* id = std::get_if<uint64_t>(&answer)) clients_.emplace(*id, client);
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

  // One bit of work of a group, and some of its answers arrive.
  void work(int32_t index) {
    Place& place = places_[static_cast<size_t>(index)];
    if (!place.up) return;
    if (!place.sequences.empty()) {
      progress(place, static_cast<size_t>(pick(0, static_cast<int32_t>(place.sequences.size()) - 1)));
    }
    for (int arrivals = pick(0, 3); arrivals > 0 && place.up && !place.answers.empty(); --arrivals) {
      const std::function<void()> answer = std::move(place.answers.front());
      place.answers.pop_front();
      answer();
      act();
    }
  }

  void progress(Place& place, size_t index) {
    Sequence& sequence = place.sequences[index];
    const GroupId group = place.group;
    const Sequence now = sequence;
    if (now.cancelled) return end(place, index, std::nullopt, 0);
    if (!now.prompt_done) {
      sequence.prompt_done = true;
      const int32_t freed = now.pages - now.pages_after_prompt;
      if (freed == 0) return;
      sequence.pages -= freed;
      place.used -= freed;
      place.answers.emplace_back(
          [=, this] { EXPECT_TRUE(dispatcher_.released(group, now.request, now.attempt, freed)); });
      return;
    }
    if (now.emitted == now.stop_at) return end(place, index, FinishReason::stop, 1);
    const int32_t count = std::min(pick(1, 3), now.max_tokens - now.emitted);
    std::vector<int32_t> ids;
    while (static_cast<int32_t>(ids.size()) < count && sequence.emitted != now.stop_at) {
      ids.push_back(token_at(now.prompt_seed, sequence.emitted++));
    }
    place.answers.emplace_back([=, this] {
      EXPECT_TRUE(
          dispatcher_.tokens(group, now.request, now.attempt, static_cast<uint32_t>(now.emitted), ids));
    });
    if (sequence.emitted == now.max_tokens) end(place, index, FinishReason::length, 0);
  }

  void end(Place& place, size_t index, std::optional<FinishReason> reason, int32_t stop_ids) {
    const Sequence sequence = place.sequences[index];
    place.used -= sequence.pages;
    place.sequences.erase(place.sequences.begin() + static_cast<std::ptrdiff_t>(index));
    const GroupId group = place.group;
    // Now and then a group gives a sequence up without being asked.
    if (faults_ && reason && pick(0, 300) == 0) reason.reset();
    place.answers.emplace_back([=, this] {
      if (!reason && clients_.contains(sequence.request)) clients_.at(sequence.request).running = false;
      dispatcher_.finished(group, sequence.request, sequence.attempt,
                           {reason, sequence.emitted + stop_ids, {}});
    });
  }

  // ---- what the dispatcher wants done
  void act() {
    for (const Action& action : dispatcher_.take_actions()) {
      if (const auto* sent = std::get_if<SendSubmit>(&action)) {
        receive_submit(*sent);
      } else if (const auto* cancel = std::get_if<SendCancel>(&action)) {
        for (Place& place : places_) {
          if (!place.up || place.group != cancel->group) continue;
          for (Sequence& sequence : place.sequences) {
            if (sequence.request == cancel->request) sequence.cancelled = true;
          }
        }
      } else {
        receive_event(std::get<Emit>(action));
      }
    }
  }

  void receive_submit(const SendSubmit& sent) {
    Place* place = nullptr;
    for (Place& candidate : places_) {
      if (candidate.up && candidate.group == sent.group) place = &candidate;
    }
    ASSERT_NE(place, nullptr) << "sent to a group that is not there";
    ASSERT_TRUE(dispatcher_.runs_on(sent.request, sent.group));
    const TokenRequest& request = dispatcher_.request_of(sent.request);
    const TokenLog& log = dispatcher_.log_of(sent.request);
    Client& client = clients_.at(sent.request);
    // Fair: nobody older was left waiting who could ever run on a group that is there.
    for (const auto& [id, other] : clients_) {
      if (id >= sent.request) break;
      EXPECT_TRUE(other.running || demand(id) > largest_capacity())
          << id << " was overtaken by " << sent.request;
    }
    client.running = true;
    on_[sent.request] = sent.group;
    EXPECT_GT(log.attempt(), client.attempt);
    if (client.attempt > 0) ++replays_;
    client.attempt = log.attempt();

    const auto reserved =
        config::reservation(request.compression, static_cast<int32_t>(log.tokens().size()), log.remaining());
    EXPECT_EQ(client.received, log.emitted());
    place->used += reserved.pages;
    EXPECT_LE(place->used, place->capacity) << "more was sent than fits";
    EXPECT_LT(static_cast<int32_t>(place->sequences.size()), world_.max_sequences);
    place->sequences.push_back({sent.request, log.attempt(), client.prompt_seed, log.emitted(),
                                log.max_tokens(), request.stop_ids[0], reserved.pages,
                                reserved.pages_after_prompt});
    EXPECT_TRUE(client.stop_at < 0 || log.emitted() <= client.stop_at);
  }

  void receive_event(const Emit& emit) {
    const auto found = clients_.find(emit.request);
    ASSERT_NE(found, clients_.end()) << "an event after the end, or after the client left";
    Client& client = found->second;
    if (const auto* chunk = std::get_if<TokenChunk>(&emit.event)) {
      for (const int32_t id : chunk->ids) ASSERT_EQ(id, token_at(client.prompt_seed, client.received++));
      return;
    }
    const auto& end = std::get<TokenEnd>(emit.event);
    if (end.reason == FinishReason::error) {
      ++errors_;
      EXPECT_FALSE(end.error.empty());
    } else {
      EXPECT_EQ(client.received, end.reason == FinishReason::stop ? client.stop_at : client.max_tokens);
    }
    ++ended_;
    clients_.erase(found);
  }

  // ---- invariants
  int32_t demand(uint64_t id) const {
    const TokenLog& log = dispatcher_.log_of(id);
    return config::reservation(dispatcher_.request_of(id).compression,
                               static_cast<int32_t>(log.tokens().size()), log.remaining())
        .pages;
  }
  int32_t largest_capacity() const {
    int32_t largest = 0;
    for (const Place& place : places_) largest = std::max(largest, place.up ? place.capacity : 0);
    return largest;
  }
  bool busy() const {
    return std::any_of(places_.begin(), places_.end(),
                       [](const Place& place) { return !place.sequences.empty() || !place.answers.empty(); });
  }
  void check() {
    for (const auto& [group, ledger] : dispatcher_.admission().groups()) {
      ASSERT_GE(ledger.reserved(), 0);
      ASSERT_LE(ledger.reserved(), ledger.capacity());
      ASSERT_LE(ledger.sequences(), world_.max_sequences);
    }
    // The books are never more generous than the group: it frees first, then says so.
    for (const Place& place : places_) {
      if (place.up) {
        ASSERT_GE(dispatcher_.admission().groups().at(place.group).reserved(), place.used);
      }
    }
    ASSERT_EQ(static_cast<size_t>(dispatcher_.open()), clients_.size());
  }

  const World world_;
  std::mt19937 random_;
  monitoring::ManualClock clock_;
  Dispatcher dispatcher_;
  std::vector<Place> places_;
  std::map<uint64_t, Client> clients_;  // of open requests, by id
  std::map<uint64_t, GroupId> on_;
  uint64_t starts_ = 0;
  int64_t ended_ = 0, replays_ = 0, errors_ = 0;
  bool faults_ = true;
};

void simulate(const World& world, int seeds, int steps, bool expect_replays) {
  int64_t ended = 0, replays = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(world, static_cast<uint32_t>(seed));
    simulation.run(steps);
    if (testing::Test::HasFailure()) return;
    ended += simulation.ended();
    replays += simulation.replays();
  }
  EXPECT_GT(ended, int64_t{seeds} * steps / 200);
  EXPECT_EQ(replays > 0, expect_replays);
}

// A million steps in all.
TEST(Simulation, OneGroupThatNeverDies) { simulate({1, {24}, 6, 0}, 5, 40'000, true); }
TEST(Simulation, ThreeGroupsThatDieNowAndThen) { simulate({3, {30}, 8, 500}, 10, 40'000, true); }
TEST(Simulation, GroupsOfDifferentSizeThatDieOften) { simulate({3, {30, 8, 17}, 4, 5000}, 10, 40'000, true); }

}  // namespace
}  // namespace batchmax::coordinator
