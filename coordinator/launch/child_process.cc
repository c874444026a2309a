#include "coordinator/launch/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;

constexpr size_t kLineBytes = 8192;
constexpr int kReportDescriptor = 3;  // where the child says why it could not start

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    close_end(read_end);
    close_end(write_end);
  }
  static void close_end(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
  int release_read() { return std::exchange(read_end, -1); }
};

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> made;
  for (const std::string& text : texts) made.push_back(const_cast<char*>(text.c_str()));
  made.push_back(nullptr);
  return made;
}

// In the child, between fork and exec: nothing but system calls, for other threads held locks when it was
// forked.
[[noreturn]] void become(char* const* argv, char* const* environment, pid_t parent, int empty_input,
                         int output, int report) {
  const auto give_up = [&] {
    const int reason = errno;
    [[maybe_unused]] const auto written = ::write(kReportDescriptor, &reason, sizeof(reason));
    _exit(127);
  };
  if (report == kReportDescriptor) {
    fcntl(report, F_SETFD, FD_CLOEXEC);
  } else if (dup3(report, kReportDescriptor, O_CLOEXEC) < 0) {
    _exit(127);
  }
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // it died before it could be watched
  if (dup2(empty_input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) give_up();
  syscall(SYS_close_range, kReportDescriptor + 1, ~0U, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);  // what is ignored stays ignored over exec
  execve(argv[0], argv, environment);
  give_up();
  _exit(127);
}

pid_t spawn(const std::vector<std::string>& argv, const std::vector<std::string>& environment, Pipe& output) {
  const std::vector<char*> arguments = pointers(argv);
  const std::vector<char*> variables = pointers(environment);
  Pipe report;
  const int empty_input = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (empty_input < 0) throw std::runtime_error(fmt::format("/dev/null: {}", std::strerror(errno)));
  // The child's end of the output must not lie where the report goes.
  const int child_output = fcntl(output.write_end, F_DUPFD_CLOEXEC, kReportDescriptor + 1);
  const int child_input = fcntl(empty_input, F_DUPFD_CLOEXEC, kReportDescriptor + 1);
  ::close(empty_input);
  const pid_t parent = getpid();
  const pid_t child = child_output < 0 || child_input < 0 ? -1 : fork();
  if (child == 0)
    become(arguments.data(), variables.data(), parent, child_input, child_output, report.write_end);
  const int fork_error = errno;
  ::close(child_output);
  ::close(child_input);
  if (child < 0)
    throw std::runtime_error(fmt::format("cannot start {}: {}", argv[0], std::strerror(fork_error)));
  Pipe::close_end(report.write_end);
  Pipe::close_end(output.write_end);
  int reason = 0;
  ssize_t count;
  do {
    count = ::read(report.read_end, &reason, sizeof(reason));
  } while (count < 0 && errno == EINTR);
  if (count == sizeof(reason)) {
    waitpid(child, nullptr, 0);
    throw std::runtime_error(fmt::format("cannot start {}: {}", argv[0], std::strerror(reason)));
  }
  return child;
}

}  // namespace

std::string describe(const ExitStatus& status) {
  if (status.signal != 0)
    return fmt::format("ended by signal {} ({})", status.signal, strsignal(status.signal));
  return fmt::format("exit status {}", status.code);
}

ChildProcess::ChildProcess(asio::any_io_executor executor, const std::vector<std::string>& argv,
                           const std::vector<std::string>& environment)
    : pid_(-1), exited_(executor), output_(executor) {
  Pipe output;
  pid_ = spawn(argv, environment, output);
  const int process = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (process < 0) {
    const int reason = errno;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    throw std::runtime_error(
        fmt::format("pidfd_open: {} (Linux 5.3 or newer is needed)", std::strerror(reason)));
  }
  exited_.assign(process);
  output_.assign(output.release_read());
}

ChildProcess::~ChildProcess() {
  if (status_) return;
  kill(-pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

asio::awaitable<std::optional<std::string>> ChildProcess::read_line() {
  for (;;) {
    const size_t end = buffered_.find('\n');
    if (end != std::string::npos || buffered_.size() >= kLineBytes) {
      const size_t length = std::min(end, kLineBytes);
      std::string line = buffered_.substr(0, length);
      buffered_.erase(0, length == end ? end + 1 : length);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      co_return line;
    }
    std::array<char, 4096> bytes;
    const auto [error, count] =
        co_await output_.async_read_some(asio::buffer(bytes), asio::as_tuple(asio::use_awaitable));
    if (error) {
      if (buffered_.empty()) co_return std::nullopt;
      co_return std::exchange(buffered_, {});
    }
    buffered_.append(bytes.data(), count);
  }
}

asio::awaitable<ExitStatus> ChildProcess::wait() {
  while (!status_) {
    co_await exited_.async_wait(asio::posix::descriptor_base::wait_read, asio::as_tuple(asio::use_awaitable));
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) != pid_) continue;
    ExitStatus made;
    if (WIFSIGNALED(status)) made.signal = WTERMSIG(status);
    if (WIFEXITED(status)) made.code = WEXITSTATUS(status);
    status_ = made;
  }
  co_return *status_;
}

void ChildProcess::send_signal(int signal) {
  if (status_) return;
  kill(pid_, signal);
  if (signal == SIGKILL) kill(-pid_, signal);
}

}  // namespace batchmax::coordinator
