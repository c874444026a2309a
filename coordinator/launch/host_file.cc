#include "coordinator/launch/host_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace batchmax::coordinator {
namespace {

constexpr int kMostSlots = 65536;

bool is_count(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= kMostSlots;
}

// One word after the host's name.
std::optional<std::string> option_fault(const std::string& word) {
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
  if (name == "slots" || name == "max_slots" || name == "max-slots") {
    if (is_count(value)) return std::nullopt;
    return fmt::format("{}: expected a number of ranks from 1 to {}", word, kMostSlots);
  }
  if ((name == "user" || name == "username") && !value.empty()) return std::nullopt;
  return fmt::format("{} is not understood; expected slots=N, max_slots=N or user=NAME", word);
}

std::optional<std::string> line_fault(std::istringstream words) {
  std::string word;
  words >> word;  // the host
  if (word.find('=') != std::string::npos) return fmt::format("{} stands where a host is expected", word);
  while (words >> word) {
    if (auto fault = option_fault(word)) return fault;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> host_file_fault(const std::string& text) {
  std::istringstream lines(text);
  int number = 0;
  bool any = false;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    any = true;
    if (auto fault = line_fault(std::istringstream(line))) return fmt::format("{}: {}", number, *fault);
  }
  if (!any) return fmt::format("{}: no host is named", std::max(number, 1));
  return std::nullopt;
}

void check_host_file(const std::string& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  if (!(text << stream.rdbuf())) {
    throw std::runtime_error(fmt::format("--hostfile {}: cannot be read, or is empty", file));
  }
  if (const auto fault = host_file_fault(text.str()))
    throw std::runtime_error(fmt::format("--hostfile {}:{}", file, *fault));
}

}  // namespace batchmax::coordinator
