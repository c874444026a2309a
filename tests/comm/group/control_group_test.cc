#include "comm/group/control_group.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>

#include "tests/comm/group/ranks.h"
#include "tests/support/temporary_folder.h"

namespace batchmax::comm {
namespace {

using Bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

Bytes message(size_t length, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(length);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

void on_groups(const std::function<void(ControlGroup&)>& body) {
  for (const int size : group_sizes()) {
    on_all_ranks(size, [&](ControlGroup& group, TensorGroup&, const kernels::Stream&) {
      EXPECT_EQ(group.size(), size);
      body(group);
    });
  }
}

TEST(ControlGroup, NumbersItsRanks) {
  on_groups([](ControlGroup& group) {
    const auto all = group.gather(Bytes(static_cast<size_t>(group.rank())));
    EXPECT_GE(group.local_rank(), 0);
    EXPECT_LT(group.local_rank(), group.local_size());
    if (group.rank() == 0) {
      ASSERT_EQ(all.size(), static_cast<size_t>(group.size()));
      for (size_t rank = 0; rank < all.size(); ++rank) EXPECT_EQ(all[rank].size(), rank);
    } else {
      EXPECT_TRUE(all.empty());
    }
  });
}

TEST(ControlGroup, BroadcastsBytesOfAnyLengthInOrder) {
  on_groups([](ControlGroup& group) {
    uint32_t seed = 0;
    // Around the lengths at which an implementation may cut.
    for (const size_t length : {0, 1, 8, 3831, 3832, 3833, 3840, 7672, 7673, 4096, 65536, 1'000'000, 3}) {
      const Bytes sent = message(length, ++seed);
      EXPECT_EQ(group.broadcast(group.rank() == 0 ? sent : Bytes{}), sent);
    }
  });
}

TEST(ControlGroup, SendsWithoutWaitingForTheReceivers) {
  on_groups([](ControlGroup& group) {
    constexpr uint32_t kMessages = 40;
    if (group.rank() == 0) {
      for (uint32_t i = 0; i < kMessages; ++i) group.broadcast(message(5000, i));
    }
    group.barrier();  // all were sent before the first is received
    if (group.rank() != 0) {
      for (uint32_t i = 0; i < kMessages; ++i) EXPECT_EQ(group.broadcast({}), message(5000, i));
    }
    group.barrier();
  });
}

// Files of a folder, waited for without any call of the group.
bool appears(const std::string& folder, int files) {
  for (int look = 0; look < 20'000; ++look) {
    const auto begin = std::filesystem::directory_iterator(folder);
    if (std::distance(begin, std::filesystem::directory_iterator()) == files) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

// A leader that waits for its GPU after sending makes no calls: what it sent must arrive all the same.
TEST(ControlGroup, DeliversWithoutFurtherCallsOfTheSender) {
  on_groups([](ControlGroup& group) {
    constexpr uint32_t kPlans = 2;  // one step ahead
    for (const size_t length : {60'000, 64 * 1024, 700'000}) {
      const TemporaryFolder own;  // the leader's counts
      const Bytes name =
          group.broadcast(Bytes(reinterpret_cast<const std::byte*>(own.path().data()),
                                reinterpret_cast<const std::byte*>(own.path().data()) + own.path().size()));
      const std::string folder(reinterpret_cast<const char*>(name.data()), name.size());
      if (group.rank() == 0) {
        for (uint32_t i = 0; i < kPlans; ++i) group.broadcast(message(length, i));
        EXPECT_TRUE(appears(folder, group.size() - 1)) << length << " bytes";
      } else {
        for (uint32_t i = 0; i < kPlans; ++i) EXPECT_EQ(group.broadcast({}), message(length, i));
        std::ofstream(folder + "/" + std::to_string(group.rank()));
      }
      group.barrier();
    }
  });
}

TEST(ControlGroup, GathersInRankOrderWhateverTheOrderOfArrival) {
  on_groups([](ControlGroup& group) {
    for (uint32_t round = 0; round < 20; ++round) {
      const auto bytes_of = [&](int rank) {
        return message(static_cast<size_t>(rank) * 3000 + round * 500,
                       round * 100 + static_cast<uint32_t>(rank));
      };
      if ((static_cast<uint32_t>(group.rank()) + round) % 3 == 0) std::this_thread::sleep_for(1ms);
      const auto all = group.gather(bytes_of(group.rank()));
      for (size_t rank = 0; rank < all.size(); ++rank) EXPECT_EQ(all[rank], bytes_of(static_cast<int>(rank)));
    }
  });
}

// What a group does between requests: a message after a silence that outlasts every hot wait.
TEST(ControlGroup, DeliversAfterALongSilence) {
  on_groups([](ControlGroup& group) {
    for (uint32_t round = 0; round < 3; ++round) {
      if (group.rank() == 0) std::this_thread::sleep_for(30ms);
      const Bytes sent = message(100, round);
      EXPECT_EQ(group.broadcast(group.rank() == 0 ? sent : Bytes{}), sent);
      const auto answers = group.gather(sent);
      EXPECT_EQ(answers.size(), group.rank() == 0 ? static_cast<size_t>(group.size()) : 0U);
    }
  });
}

}  // namespace
}  // namespace batchmax::comm
