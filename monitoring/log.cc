#include "monitoring/log.h"

#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <ctime>

namespace batchmax::monitoring {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "info";
}

// A JSON string literal; control characters never reach a terminal or split a line.
std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + '"';
}

bool is_plain(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == '"' || c == '=' || c == '\\' || c == 0x7f) return false;
  }
  return true;
}

std::string timestamp() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char text[40];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof text - length, ".%03ldZ", now.tv_nsec / 1000000);
  return text;
}

}  // namespace

struct Log::Sink {
  std::shared_ptr<spdlog::logger> logger;
  bool json = false;
  std::string program;
};

LogLevel level_from_name(std::string_view name) {
  for (const LogLevel level : {LogLevel::debug, LogLevel::warning, LogLevel::error}) {
    if (name == name_of(level)) return level;
  }
  return LogLevel::info;
}

Log::Log(Options options) : sink_(std::make_shared<Sink>()) {
  sink_->logger =
      std::make_shared<spdlog::logger>("batchmax", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  sink_->logger->set_pattern("%v");
  sink_->logger->set_level(to_spdlog(options.level));
  sink_->logger->flush_on(spdlog::level::debug);
  sink_->json = options.json;
  sink_->program = std::move(options.program);
}

Log::Log(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}

Log Log::silent() {
  auto sink = std::make_shared<Sink>();
  sink->logger = std::make_shared<spdlog::logger>("silent", std::make_shared<spdlog::sinks::null_sink_mt>());
  return Log(std::move(sink));
}

void Log::write(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) const {
  if (!sink_->logger->should_log(to_spdlog(level))) return;
  std::string line;
  if (sink_->json) {
    line = "{\"time\":\"" + timestamp() + "\",\"level\":\"" + name_of(level) +
           "\",\"program\":" + quote(sink_->program) + ",\"event\":" + quote(event);
    for (const LogField& field : fields) {
      line += "," + quote(field.key) + ":" + (field.quoted ? quote(field.value) : field.value);
    }
    line += "}";
  } else {
    line = timestamp() + " " + name_of(level) + " " + sink_->program + ": " + std::string(event);
    for (const LogField& field : fields) {
      line += " " + std::string(field.key) + "=" +
              (!field.quoted || is_plain(field.value) ? field.value : quote(field.value));
    }
  }
  sink_->logger->log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace batchmax::monitoring
