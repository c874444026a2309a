// A program that this process has started and that dies with it. Event loop only; start it from the thread
// that runs the loop: the kernel ties the parent-death signal to the thread.
#pragma once

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>
#include <vector>

namespace batchmax::coordinator {

struct ExitStatus {
  int code = 0;    // where it exited
  int signal = 0;  // where a signal ended it, else 0
  bool good() const { return code == 0 && signal == 0; }
};
std::string describe(const ExitStatus& status);

class ChildProcess {
 public:
  // argv[0] is a path. environment: "NAME=value" lines. Standard input is empty; standard output and error
  // come out of read_line(). It has its own process group (Ctrl-C in the terminal does not reach it), no
  // other descriptor of ours, and gets SIGTERM when we die. Throws std::runtime_error where it cannot be
  // started.
  ChildProcess(boost::asio::any_io_executor executor, const std::vector<std::string>& argv,
               const std::vector<std::string>& environment);
  ~ChildProcess();  // kills it and its process group if it still runs
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The next line of output, without its end and at most 8 KiB of it; empty at the end of the output.
  boost::asio::awaitable<std::optional<std::string>> read_line();
  boost::asio::awaitable<ExitStatus> wait();
  void send_signal(int signal);  // SIGKILL: to its whole process group
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
  boost::asio::posix::stream_descriptor exited_;  // a pidfd: readable once the process has ended
  boost::asio::posix::stream_descriptor output_;
  std::string buffered_;
  std::optional<ExitStatus> status_;
};

}  // namespace batchmax::coordinator
