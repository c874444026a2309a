// Real processes: started, read, ended, and never left behind.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "coordinator/launch/child_process.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/local_group.h"
#include "coordinator/launch/private_folder.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

// Runs a coroutine to its end, 20 s at most.
void run(asio::io_context& loop, std::function<asio::awaitable<void>()> work) {
  std::exception_ptr failure;
  bool done = false;
  asio::co_spawn(loop, work(), [&](std::exception_ptr error) {
    failure = error;
    done = true;
    loop.stop();
  });
  loop.restart();
  loop.run_for(std::chrono::seconds(20));
  ASSERT_TRUE(done) << "still waiting after 20 s";
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> wait_until(asio::io_context& loop, std::function<bool()> condition) {
  asio::steady_timer timer(loop);
  while (!condition()) {
    timer.expires_after(std::chrono::milliseconds(5));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

struct Outcome {
  std::vector<std::string> lines;
  ExitStatus status;
};

Outcome shell(const std::string& script, const std::vector<std::string>& environment = {}) {
  asio::io_context loop;
  Outcome outcome;
  run(loop, [&]() -> asio::awaitable<void> {
    const std::vector<std::string> argv = {"/bin/sh", "-c", script};
    ChildProcess child(loop.get_executor(), argv, environment);
    for (;;) {
      auto line = co_await child.read_line();
      if (!line) break;
      outcome.lines.push_back(*line);
    }
    outcome.status = co_await child.wait();
  });
  return outcome;
}

TEST(ChildProcess, GivesBothOutputsAndTheExitStatus) {
  const Outcome outcome = shell("echo one; echo two >&2; printf three; exit 7");
  EXPECT_EQ(outcome.lines, (std::vector<std::string>{"one", "two", "three"}));
  EXPECT_EQ(outcome.status.code, 7);
  EXPECT_FALSE(outcome.status.good());
  EXPECT_EQ(describe(outcome.status), "exit status 7");
}

TEST(ChildProcess, TellsASignalFromAnExit) {
  const Outcome outcome = shell("kill -9 $$");
  EXPECT_EQ(outcome.status.signal, SIGKILL);
}

TEST(ChildProcess, HasEmptyInputItsOwnGroupAndOnlyTheGivenEnvironment) {
  const Outcome outcome = shell(
      "cat; env | sort | grep -v '^PWD\\|^_\\|^SHLVL\\|^OLDPWD'; test $$ = $(ps -o pgid= -p $$) && echo "
      "leader",
      {"PATH=/usr/bin:/bin", "A=b"});
  EXPECT_EQ(outcome.lines, (std::vector<std::string>{"A=b", "PATH=/usr/bin:/bin", "leader"}));
}

TEST(ChildProcess, InheritsNoDescriptor) {
  const int leaked = dup(1);  // not close-on-exec, as the sockets of the event loop
  const Outcome outcome = shell("ls /proc/self/fd | wc -l", {"PATH=/usr/bin:/bin"});
  close(leaked);
  EXPECT_EQ(outcome.lines, std::vector<std::string>{"4"});  // input, two outputs, the folder that ls reads
}

TEST(ChildProcess, CutsEndlessLines) {
  const Outcome outcome = shell("head -c 20000 /dev/zero | tr '\\0' a", {"PATH=/usr/bin:/bin"});
  ASSERT_EQ(outcome.lines.size(), 3u);
  EXPECT_EQ(outcome.lines[0].size(), 8192u);
}

TEST(ChildProcess, SaysWhyItCouldNotStart) {
  asio::io_context loop;
  try {
    ChildProcess child(loop.get_executor(), {"/nowhere/program"}, {});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(std::string(error.what()), "cannot start /nowhere/program: No such file or directory");
  }
}

TEST(ChildProcess, IsKilledWithItsValue) {
  asio::io_context loop;
  pid_t pid = 0;
  {
    ChildProcess child(loop.get_executor(), {"/bin/sh", "-c", "trap '' TERM; sleep 1000"},
                       {"PATH=/usr/bin:/bin"});
    pid = child.pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

// The starter is killed with SIGKILL, so nothing of its own can clean up; the process it started ends all the
// same.
TEST(ChildProcess, DiesWithItsStarter) {
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // so that the orphan can be waited for
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t starter = fork();
  if (starter == 0) {
    asio::io_context loop;
    ChildProcess child(loop.get_executor(), {"/bin/sh", "-c", "exec sleep 1000"}, {"PATH=/usr/bin:/bin"});
    const pid_t pid = child.pid();
    if (write(ends[1], &pid, sizeof(pid)) != sizeof(pid)) _exit(1);
    pause();
  }
  pid_t orphan = 0;
  ASSERT_EQ(read(ends[0], &orphan, sizeof(orphan)), static_cast<ssize_t>(sizeof(orphan)));
  ASSERT_EQ(kill(orphan, 0), 0);
  kill(starter, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(starter, &status, 0), starter);
  ASSERT_EQ(waitpid(orphan, &status, 0), orphan);  // hangs, and times out, where it lives on
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  close(ends[0]);
  close(ends[1]);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(PrivateFolder, IsReadByItsUserOnlyAndGoesAway) {
  std::string path;
  {
    PrivateFolder folder(fs::temp_directory_path());
    path = folder.path();
    const std::string file = folder.write("secret", "s3");
    folder.write("secret", "s4");
    struct stat state {};
    ASSERT_EQ(stat(file.c_str(), &state), 0);
    EXPECT_EQ(state.st_mode & 07777, 0600u);
    ASSERT_EQ(stat(path.c_str(), &state), 0);
    EXPECT_EQ(state.st_mode & 07777, 0700u);
    std::ifstream stream(file);
    std::string content;
    stream >> content;
    EXPECT_EQ(content, "s4");
  }
  EXPECT_FALSE(fs::exists(path));
}

// Has ended, and waits for whoever inherits it.
bool ended_waiting(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  return line.find(") Z ") != std::string::npos;
}

class LocalGroupTest : public testing::Test {
 protected:
  LocalGroup::Parts parts(const std::string& script) {
    return {loop_.get_executor(),
            "g0",
            {"/bin/sh", "-c", script},
            {"PATH=/usr/bin:/bin"},
            [this] { return health_; },
            [this](std::string_view line) { lines_.emplace_back(line); },
            [this](const std::string& reason) { failed_ = reason; },
            monitoring::Log::silent()};
  }
  asio::io_context loop_;
  std::optional<GroupHealth> health_;
  std::vector<std::string> lines_;
  std::string failed_;
};

TEST_F(LocalGroupTest, GivesUpWhereTheWorkerSaysThatItCannotStart) {
  LocalGroup group(parts("echo 'batchmax-worker: no such model' >&2; exit 2"));
  run(loop_, [&]() -> asio::awaitable<void> { co_await group.run(); });
  EXPECT_TRUE(group.ended());
  EXPECT_EQ(failed_, "group g0 cannot be started: no such model");
  EXPECT_EQ(lines_, std::vector<std::string>{"batchmax-worker: no such model"});
}

TEST_F(LocalGroupTest, GivesUpWhereTheProgramIsMissing) {
  LocalGroup::Parts made = parts("");
  made.argv = {"/nowhere/mpirun"};
  LocalGroup group(std::move(made));
  run(loop_, [&]() -> asio::awaitable<void> { co_await group.run(); });
  EXPECT_NE(failed_.find("/nowhere/mpirun"), std::string::npos) << failed_;
}

TEST_F(LocalGroupTest, StartsAgainWhatEnded) {
  const std::string mark = (fs::temp_directory_path() / ("group-" + std::to_string(getpid()))).string();
  LocalGroup group(parts("if [ -e " + mark + " ]; then echo second; exec sleep 1000; fi; touch " + mark +
                         "; echo first; exit 1"));
  health_ = GroupHealth{1, true, true, 0};
  run(loop_, [&]() -> asio::awaitable<void> {
    asio::co_spawn(loop_, group.run(), [](std::exception_ptr) {});
    co_await wait_until(loop_, [&] { return lines_.size() == 2; });
    group.stop();
    group.send_signal(SIGTERM);
    co_await wait_until(loop_, [&] { return group.ended(); });
  });
  fs::remove(mark);
  EXPECT_EQ(lines_, (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(failed_, "");
}

TEST_F(LocalGroupTest, KillsWhatTheCoordinatorHasLost) {
  // Stands in for an mpirun whose leader was stopped: neither it nor its child ends by itself.
  LocalGroup group(parts("trap '' TERM; sleep 1000 & echo $!; wait"));
  run(loop_, [&]() -> asio::awaitable<void> {
    asio::co_spawn(loop_, group.run(), [](std::exception_ptr) {});
    co_await wait_until(loop_, [&] { return lines_.size() == 1; });
    health_ = GroupHealth{1, true, true, 0};
    asio::steady_timer timer(loop_, std::chrono::milliseconds(500));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    health_ = GroupHealth{1, false, false, 0};
    const pid_t child = std::stoi(lines_[0]);
    co_await wait_until(loop_, [&] { return kill(child, 0) != 0 || ended_waiting(child); });
    co_await wait_until(loop_, [&] { return lines_.size() == 2; });  // started again
    group.stop();
    group.send_signal(SIGKILL);
    co_await wait_until(loop_, [&] { return group.ended(); });
  });
  EXPECT_EQ(failed_, "");
}

class LauncherTest : public testing::Test {
 protected:
  LauncherTest() : folder_(fs::temp_directory_path()) {
    // Stands in for mpirun: says what it was asked to run, then stays.
    program("mpirun", "#!/bin/sh\necho \"$@\"\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n");
    program("batchmax-worker", "#!/bin/sh\nexit 1\n");
  }
  void program(const std::string& name, const std::string& text) {
    const std::string file = folder_.write(name, text);
    fs::permissions(file, fs::perms::owner_all);
  }
  Launcher::Parts parts() {
    Launcher::Parts made{loop_.get_executor(),
                         {},
                         "the-secret",
                         folder_.path() + "/batchmax",
                         {{"PATH", folder_.path() + ":/usr/bin:/bin"}, {"TMPDIR", folder_.path()}},
                         [](const std::string&) { return std::nullopt; },
                         [this](const std::string& group, std::string_view line) { lines_[group] = line; },
                         [](const std::string&) {},
                         monitoring::Log::silent()};
    made.settings.groups = 2;
    made.settings.tensor_parallel_size = 3;
    made.settings.worker_port = 12345;
    made.settings.model = "/models/m";
    made.settings.api_keys = {"client-key"};
    return made;
  }
  PrivateFolder folder_;
  asio::io_context loop_;
  std::map<std::string, std::string> lines_;
};

std::string content_of(const std::string& path) {
  std::ifstream stream(path);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

TEST_F(LauncherTest, StartsEachGroupWithItsOwnSettingsAndEndsThem) {
  std::string left;
  {
    Launcher launcher(parts());
    run(loop_, [&]() -> asio::awaitable<void> {
      launcher.start();
      co_await wait_until(loop_, [&] { return lines_.size() == 2; });
      for (const auto& [group, line] : lines_) {
        EXPECT_NE(line.find("-np 3"), std::string::npos) << line;
        EXPECT_EQ(line.find("the-secret"), std::string::npos) << line;
        const std::string configuration = line.substr(line.rfind(' ') + 1);
        left = configuration;
        const std::string text = content_of(configuration);
        EXPECT_NE(text.find(group), std::string::npos) << text;
        EXPECT_NE(text.find("12345"), std::string::npos) << text;
        EXPECT_EQ(text.find("client-key"), std::string::npos) << text;
        const std::string secret = fs::path(configuration).parent_path() / "secret";
        EXPECT_NE(text.find(secret), std::string::npos) << text;
        EXPECT_EQ(content_of(secret), "the-secret");
      }
      EXPECT_FALSE(launcher.all_ended());
      co_await launcher.stop(std::chrono::milliseconds(50));
      EXPECT_TRUE(launcher.all_ended());
    });
  }
  EXPECT_FALSE(left.empty());
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(LauncherTest, ThrowsWithoutMpirunOrWorker) {
  Launcher::Parts without_mpirun = parts();
  without_mpirun.environment["PATH"] = "/nowhere";
  EXPECT_THROW(Launcher launcher(std::move(without_mpirun)), std::runtime_error);
  Launcher::Parts without_worker = parts();
  without_worker.program = "/nowhere/batchmax";
  EXPECT_THROW(Launcher launcher(std::move(without_worker)), std::runtime_error);
}

}  // namespace
}  // namespace batchmax::coordinator
