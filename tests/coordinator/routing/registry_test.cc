#include "coordinator/routing/registry.h"

#include <gmock/gmock.h>

#include "comm/protocol/version.h"

namespace batchmax::coordinator {
namespace {

using testing::HasSubstr;

comm::pb::Hello hello(const std::string& name, uint64_t epoch) {
  comm::pb::Hello message;
  message.set_protocol(comm::kProtocolVersion);
  message.set_group(name);
  message.set_epoch(epoch);
  message.set_capacity_pages(100);
  message.set_page_slots(64);
  message.set_max_model_len(4096);
  message.set_vocab_size(32000);
  message.add_eos_ids(2);
  message.set_max_num_seqs(8);
  message.set_kv_bytes_per_slot(1000);
  message.set_config_digest("digest");
  return message;
}

std::string refusal(Registry& registry, const comm::pb::Hello& message) {
  const auto answer = registry.join(message);
  const auto* refused = std::get_if<Registry::Refused>(&answer);
  return refused == nullptr ? "joined" : refused->reason;
}

TEST(Registry, LearnsTheModelFromTheFirstGroup) {
  Registry registry("digest");
  EXPECT_FALSE(registry.model());
  EXPECT_EQ(refusal(registry, hello("g0", 1)), "joined");
  auto larger = hello("g1", 1);
  larger.set_capacity_pages(200);
  EXPECT_EQ(refusal(registry, larger), "joined");
  ASSERT_TRUE(registry.model());
  EXPECT_EQ(registry.model()->max_model_len, 4096);
  EXPECT_EQ(registry.model()->eos_ids, std::vector<int32_t>{2});
  EXPECT_EQ(registry.model()->capacity_pages, 200);
  EXPECT_EQ(registry.present(), 2);
}

TEST(Registry, RefusesWhatDoesNotMatchAndSaysWhatToDo) {
  Registry registry("digest");
  auto message = hello("g0", 1);
  message.set_protocol(99);
  EXPECT_THAT(refusal(registry, message), HasSubstr("one version"));
  message = hello("g0", 1);
  message.set_config_digest("other");
  EXPECT_THAT(refusal(registry, message), HasSubstr("--tensor-parallel-size"));
  message = hello("g0", 1);
  message.set_page_slots(32);
  EXPECT_THAT(refusal(registry, message), HasSubstr("pages of 64"));
  message = hello("", 1);
  EXPECT_THAT(refusal(registry, message), HasSubstr("name"));
  message = hello("g0", 1);
  message.set_capacity_pages(0);
  EXPECT_THAT(refusal(registry, message), HasSubstr("cannot be"));
  message.set_capacity_pages(0xffffffff);
  EXPECT_THAT(refusal(registry, message), HasSubstr("cannot be"));
  EXPECT_EQ(registry.present(), 0);
  EXPECT_FALSE(registry.model());

  EXPECT_EQ(refusal(registry, hello("g0", 1)), "joined");
  message = hello("g1", 1);
  message.set_vocab_size(5);
  EXPECT_THAT(refusal(registry, message), HasSubstr("is not that of the other groups"));
}

TEST(Registry, LetsANewerStartTakeThePlaceOfAnOlder) {
  Registry registry("digest");
  const auto first = std::get<Registry::Joined>(registry.join(hello("g0", 5)));
  EXPECT_FALSE(first.replaced);
  EXPECT_THAT(refusal(registry, hello("g0", 4)), HasSubstr("--group-name"));
  const auto second = std::get<Registry::Joined>(registry.join(hello("g0", 6)));
  EXPECT_EQ(second.replaced, first.group);
  EXPECT_NE(second.group, first.group);
  registry.leave(first.group);  // says nothing of the second
  EXPECT_EQ(registry.present(), 1);
  // The same process on a new connection.
  const auto third = std::get<Registry::Joined>(registry.join(hello("g0", 6)));
  EXPECT_EQ(third.replaced, second.group);
  registry.leave(third.group);
  EXPECT_EQ(registry.present(), 0);
  EXPECT_FALSE(std::get<Registry::Joined>(registry.join(hello("g0", 6))).replaced);
}

}  // namespace
}  // namespace batchmax::coordinator
