// The pure parts: when to start again, what to run, which line says why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "coordinator/launch/group_command.h"
#include "coordinator/launch/host_file.h"
#include "coordinator/launch/last_words.h"
#include "coordinator/launch/restart_policy.h"

namespace batchmax::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr RestartPolicy::Start kNeverHealthy{};
constexpr RestartPolicy::Start kHealthy{true, false, false};
constexpr RestartPolicy::Start kServed{true, true, false};

std::vector<int64_t> waits(RestartPolicy& policy, const RestartPolicy::Start& start, int count) {
  std::vector<int64_t> seconds;
  for (int i = 0; i < count; ++i) {
    const auto wait = policy.after_exit(start);
    seconds.push_back(wait ? wait->count() : -1);
  }
  return seconds;
}

TEST(RestartPolicy, GivesUpAfterFiveStartsThatNeverBecameHealthy) {
  RestartPolicy policy;
  EXPECT_EQ(waits(policy, kNeverHealthy, 5), (std::vector<int64_t>{1, 2, 4, 8, -1}));
}

TEST(RestartPolicy, CountsFailuresInARow) {
  RestartPolicy policy;
  waits(policy, kNeverHealthy, 4);
  EXPECT_EQ(waits(policy, kHealthy, 1), std::vector<int64_t>{16});
  EXPECT_EQ(waits(policy, kNeverHealthy, 5), (std::vector<int64_t>{30, 30, 30, 30, -1}));
}

TEST(RestartPolicy, WaitsShortlyAgainAfterAStartThatServed) {
  RestartPolicy policy;
  EXPECT_EQ(waits(policy, kHealthy, 7), (std::vector<int64_t>{1, 2, 4, 8, 16, 30, 30}));
  EXPECT_EQ(waits(policy, kServed, 1), std::vector<int64_t>{1});
  EXPECT_EQ(waits(policy, kHealthy, 2), (std::vector<int64_t>{2, 4}));
}

TEST(RestartPolicy, BelievesAGroupThatSaysItCannotStart) {
  RestartPolicy policy;
  EXPECT_FALSE(policy.after_exit({false, false, true}).has_value());
}

TEST(RestartPolicy, StartsAgainWhatHasWorkedBefore) {
  RestartPolicy policy;
  EXPECT_TRUE(policy.after_exit({true, false, true}).has_value());
  EXPECT_TRUE(policy.after_exit({false, false, true}).has_value())
      << "the dead group's memory was not free yet";
}

TEST(GroupCommand, RunsTheWorkerUnderMpirun) {
  config::Settings settings;
  settings.tensor_parallel_size = 4;
  GroupCommand command{"/usr/bin/mpirun", "/opt/bin/batchmax-worker", "/tmp/x/g0.yaml", false};
  EXPECT_EQ(
      command_line(command, settings),
      (std::vector<std::string>{"/usr/bin/mpirun", "--quiet", "-np", "4", "--oversubscribe", "--bind-to",
                                "none", "/opt/bin/batchmax-worker", "--config", "/tmp/x/g0.yaml"}));
  settings.hostfile = "hosts";
  command.as_root = true;
  const auto words = command_line(command, settings);
  EXPECT_EQ(std::count(words.begin(), words.end(), "--allow-run-as-root"), 1);
  const auto hostfile = std::find(words.begin(), words.end(), "--hostfile");
  ASSERT_NE(hostfile, words.end());
  EXPECT_EQ(*(hostfile + 1), "hosts");
  EXPECT_EQ(std::count(words.begin(), words.end(), "oob_tcp_keepalive_probes"), 1);
}

TEST(HostFile, AcceptsWhatMpirunDoes) {
  EXPECT_EQ(host_file_fault("node1\n"), std::nullopt);
  EXPECT_EQ(
      host_file_fault("# hosts\n\nnode1 slots=4 max_slots=8 # four GPUs\n10.0.0.2\tslots=1 user=me\r\n"),
      std::nullopt);
}

TEST(HostFile, NamesTheLineThatIsWrong) {
  EXPECT_THAT(*host_file_fault("node1 slots=2\nnode2 slots=x\n"),
              StartsWith("2: slots=x: expected a number"));
  EXPECT_THAT(*host_file_fault("node1 slots=0\n"), StartsWith("1: slots=0"));
  EXPECT_THAT(*host_file_fault("node1 slots\n"), StartsWith("1: slots: expected"));
  EXPECT_THAT(*host_file_fault("\n# x\nnode1 slotts=2"), StartsWith("3: slotts=2 is not understood"));
  EXPECT_THAT(*host_file_fault("node1\nslots=2\n"), StartsWith("2: slots=2 stands where a host"));
  EXPECT_THAT(*host_file_fault("# nobody\n"), HasSubstr("no host"));
}

TEST(HostFile, ThatIsMissingIsNamed) {
  try {
    check_host_file("/nowhere/hosts");
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("--hostfile /nowhere/hosts"));
  }
}

TEST(GroupCommand, HandsNoSettingOnInTheEnvironment) {
  EXPECT_EQ(
      group_environment({{"PATH", "/bin"}, {"BATCHMAX_PORT", "1"}, {"BATCHMAX_SECRET", "s"}, {"HOME", "/h"}}),
      (std::vector<std::string>{"HOME=/h", "PATH=/bin"}));
}

TEST(GroupCommand, HasAPathWhereTheEnvironmentIsEmpty) {
  EXPECT_EQ(group_environment({}), std::vector<std::string>{"PATH=/usr/local/bin:/usr/bin:/bin"});
  EXPECT_EQ(group_environment({{"PATH", ""}}), std::vector<std::string>{"PATH="});
}

TEST(GroupCommand, SaysWhatToDoWithoutMpirunOrWorker) {
  try {
    find_mpirun({{"PATH", "/nowhere:/neither"}});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("openmpi-bin"), std::string::npos);
  }
  try {
    find_worker("/nowhere/batchmax");
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/batchmax-worker"), std::string::npos);
  }
}

TEST(LastWords, PrefersTheWorkersOwnError) {
  LastWords words;
  EXPECT_EQ(words.reason(), "");
  words.add("2026-01-01 info loading");
  EXPECT_EQ(words.reason(), "2026-01-01 info loading");
  words.add("2026-01-01 error step failed reason=x");
  words.add("--------------------------------------");
  words.add("mpirun detected that one or more processes exited with non-zero status, thus causing");
  words.add("  Exit code:    2");
  EXPECT_EQ(words.reason(), "2026-01-01 error step failed reason=x");
  words.add("batchmax-worker: config.json: key hidden_size: expected a number");
  words.add("batchmax-worker: connection lost");
  EXPECT_EQ(words.reason(), "config.json: key hidden_size: expected a number");
}

TEST(LastWords, SkipsTheFramingOfMpirun) {
  LastWords words;
  words.add("Killed");
  words.add("mpirun noticed that process rank 1 with PID 5 on node a exited on signal 9 (Killed).");
  words.add("------");
  EXPECT_EQ(words.reason(), "Killed");
}

}  // namespace
}  // namespace batchmax::coordinator
