#include "coordinator/routing/registry.h"

#include <algorithm>

#include "comm/protocol/version.h"
#include "config/kv_reservation.h"

namespace batchmax::coordinator {
namespace {

// More would not fit an int32 anywhere else.
constexpr uint32_t kLargest = 1U << 30;

ModelFacts facts_of(const comm::pb::Hello& hello) {
  ModelFacts facts;
  facts.max_model_len = static_cast<int32_t>(hello.max_model_len());
  facts.vocab_size = static_cast<int32_t>(hello.vocab_size());
  facts.eos_ids.assign(hello.eos_ids().begin(), hello.eos_ids().end());
  facts.kv_bytes_per_slot = hello.kv_bytes_per_slot();
  return facts;
}

bool same_model(const ModelFacts& a, const ModelFacts& b) {
  return a.max_model_len == b.max_model_len && a.vocab_size == b.vocab_size && a.eos_ids == b.eos_ids &&
         a.kv_bytes_per_slot == b.kv_bytes_per_slot;
}

std::string quoted(const std::string& name) { return "\"" + name + "\""; }

}  // namespace

std::optional<std::string> Registry::objection(const comm::pb::Hello& hello) const {
  if (hello.protocol() != comm::kProtocolVersion) {
    return "the coordinator speaks protocol " + std::to_string(comm::kProtocolVersion) + ", group " +
           quoted(hello.group()) + " speaks " + std::to_string(hello.protocol()) +
           ": run batchmax and batchmax-worker of one version";
  }
  if (hello.group().empty() || hello.group().size() > 100) return "a group needs a name of 1 to 100 bytes";
  if (hello.config_digest() != digest_) {
    return "the settings of group " + quoted(hello.group()) +
           " differ from the coordinator's: model, --tensor-parallel-size, --max-model-len, --score, "
           "--eviction-scope and the compression settings must be the same on both sides (compare "
           "--print-config)";
  }
  if (hello.page_slots() != static_cast<uint32_t>(config::kPageSlots)) {
    return "pages of " + std::to_string(hello.page_slots()) + " slots; the coordinator counts in pages of " +
           std::to_string(config::kPageSlots);
  }
  for (const uint32_t value :
       {hello.capacity_pages(), hello.max_num_seqs(), hello.max_model_len(), hello.vocab_size()}) {
    if (value < 1 || value > kLargest) {
      return "group " + quoted(hello.group()) + " names a capacity, length or vocabulary that cannot be";
    }
  }
  if (facts_ && !same_model(*facts_, facts_of(hello))) {
    return "the model of group " + quoted(hello.group()) +
           " (length, vocabulary, end-of-sequence ids or KV bytes per slot) is not that of the other groups";
  }
  const auto found = known_.find(hello.group());
  if (found != known_.end() && hello.epoch() < found->second.epoch) {
    return "a newer start of group " + quoted(hello.group()) +
           " has joined; every group needs a name of its own: --group-name";
  }
  return std::nullopt;
}

std::variant<Registry::Joined, Registry::Refused> Registry::join(const comm::pb::Hello& hello) {
  if (auto why = objection(hello)) return Refused{*std::move(why)};
  Known& known = known_[hello.group()];
  Joined joined{GroupId{next_group_++}, known.present};
  known.epoch = hello.epoch();
  known.present = joined.group;
  known.capacity_pages = static_cast<int32_t>(hello.capacity_pages());
  facts_ = facts_of(hello);
  return joined;
}

void Registry::leave(GroupId group) {
  for (auto& [name, known] : known_) {
    if (known.present == group) known.present.reset();
  }
}

std::optional<ModelFacts> Registry::model() const {
  if (!facts_) return std::nullopt;
  ModelFacts facts = *facts_;
  for (const auto& [name, known] : known_) {
    facts.capacity_pages = std::max(facts.capacity_pages, known.capacity_pages);
  }
  return facts;
}

int32_t Registry::present() const {
  return static_cast<int32_t>(std::count_if(
      known_.begin(), known_.end(), [](const auto& entry) { return entry.second.present.has_value(); }));
}

}  // namespace batchmax::coordinator
