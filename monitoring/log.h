// One line per event: `2026-01-02T03:04:05.678Z info group up group=g0 epoch=1` or the same as JSON.
//   log.info("group up", {{"group", name}, {"epoch", epoch}});
// A Log is passed to whoever needs one; copies share the sink. Thread-safe.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

namespace batchmax::monitoring {

struct LogField {
  std::string_view key;
  std::string value;
  bool quoted;  // text; numbers and booleans stand bare

  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)), quoted(true) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v), quoted(true) {}
  LogField(std::string_view k, const char* v) : key(k), value(v), quoted(true) {}
  LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), quoted(false) {}
  template <typename N>
  requires(std::integral<N> || std::floating_point<N>) LogField(std::string_view k, N v)
      : key(k), value(std::to_string(v)), quoted(false) {}
};

enum class LogLevel : uint8_t { debug, info, warning, error };
LogLevel level_from_name(std::string_view name);  // unknown: info

class Log {
 public:
  // program and, where it is known, rank and group stand in every line. Writes to standard error.
  struct Options {
    LogLevel level = LogLevel::info;
    bool json = false;
    std::string program;
  };
  explicit Log(Options options);
  static Log silent();  // for tests

  void debug(std::string_view event, std::initializer_list<LogField> fields = {}) const {
    write(LogLevel::debug, event, fields);
  }
  void info(std::string_view event, std::initializer_list<LogField> fields = {}) const {
    write(LogLevel::info, event, fields);
  }
  void warning(std::string_view event, std::initializer_list<LogField> fields = {}) const {
    write(LogLevel::warning, event, fields);
  }
  void error(std::string_view event, std::initializer_list<LogField> fields = {}) const {
    write(LogLevel::error, event, fields);
  }

 private:
  struct Sink;
  void write(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) const;
  explicit Log(std::shared_ptr<Sink> sink);
  std::shared_ptr<Sink> sink_;
};

}  // namespace batchmax::monitoring
