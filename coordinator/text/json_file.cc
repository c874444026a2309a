#include "coordinator/text/json_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/kind.hpp>
#include <boost/json/value_stack.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace batchmax::coordinator {
namespace {

// Boost.JSON 1.81 keeps the last of duplicate keys and reads 1e400 as infinity: this handler refuses both.
struct StrictHandler {
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  using Error = boost::system::error_code;
  using View = boost::json::string_view;

  boost::json::value_stack stack;
  std::vector<std::vector<std::string>> open_objects;  // keys seen so far
  std::string partial_key;
  std::string reason;

  bool refuse(std::string why, Error& error) {
    reason = std::move(why);
    error = boost::json::error::syntax;
    return false;
  }

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    open_objects.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t count, Error& error) {
    auto& keys = open_objects.back();
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) return refuse(fmt::format("key {} stands twice in one object", *twice), error);
    open_objects.pop_back();
    stack.push_object(count);
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(std::size_t count, Error&) {
    stack.push_array(count);
    return true;
  }
  bool on_key_part(View part, std::size_t, Error&) {
    partial_key.append(part.data(), part.size());
    stack.push_chars(part);
    return true;
  }
  bool on_key(View part, std::size_t, Error&) {
    partial_key.append(part.data(), part.size());
    open_objects.back().push_back(std::move(partial_key));
    partial_key.clear();
    stack.push_key(part);
    return true;
  }
  bool on_string_part(View part, std::size_t, Error&) {
    stack.push_chars(part);
    return true;
  }
  bool on_string(View part, std::size_t, Error&) {
    stack.push_string(part);
    return true;
  }
  bool on_number_part(View, Error&) { return true; }
  bool on_int64(std::int64_t number, View, Error&) {
    stack.push_int64(number);
    return true;
  }
  bool on_uint64(std::uint64_t number, View, Error&) {
    stack.push_uint64(number);
    return true;
  }
  bool on_double(double number, View, Error& error) {
    if (!std::isfinite(number)) return refuse("a number is too large", error);
    stack.push_double(number);
    return true;
  }
  bool on_bool(bool truth, Error&) {
    stack.push_bool(truth);
    return true;
  }
  bool on_null(Error&) {
    stack.push_null();
    return true;
  }
  bool on_comment_part(View, Error&) { return true; }
  bool on_comment(View, Error&) { return true; }
};

std::string_view kind_name(const boost::json::value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return "null";
    case boost::json::kind::bool_:
      return "a boolean";
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
      return "an integer";
    case boost::json::kind::double_:
      return "a number";
    case boost::json::kind::string:
      return "a string";
    case boost::json::kind::array:
      return "an array";
    case boost::json::kind::object:
      return "an object";
  }
  return "nothing";
}

}  // namespace

std::string read_file(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) throw std::runtime_error(path + ": is a directory");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) throw std::runtime_error(path + ": cannot be read");
  return content;
}

boost::json::value parse_json(std::string_view text, const std::string& name) {
  boost::json::parse_options options;
  options.max_depth = 64;
  boost::json::basic_parser<StrictHandler> parser(options);
  parser.handler().stack.reset();
  boost::system::error_code error;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (error) {
    // Of a text of one line, such as what tokenize_command reads, the name says it all.
    const bool lines = text.find('\n') != std::string_view::npos;
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(read), '\n');
    const std::string& reason = parser.handler().reason;
    throw std::runtime_error(fmt::format("{}: {}not valid JSON: {}", name,
                                         lines ? fmt::format("line {}: ", line) : "",
                                         reason.empty() ? error.message() : reason));
  }
  if (text.find_first_not_of(" \t\r\n", read) != std::string_view::npos)
    throw std::runtime_error(name + ": not valid JSON: something follows the end of the document");
  return parser.handler().stack.release();
}

JsonNode::JsonNode(const boost::json::value* value, const JsonNode& parent, const std::string& step)
    : value_(value), file_(parent.file_), path_(parent.path_.empty() ? step : parent.path_ + "." + step) {}

void JsonNode::fail(const std::string& reason) const {
  throw std::runtime_error(path_.empty() ? fmt::format("{}: {}", file_, reason)
                                         : fmt::format("{}: key {}: {}", file_, path_, reason));
}

void JsonNode::wrong_type(std::string_view expected) const {
  fail(fmt::format("expected {}, found {}", expected, value_ == nullptr ? "nothing" : kind_name(*value_)));
}

JsonNode JsonNode::at(std::string_view key) const {
  const boost::json::value* member = as_object().if_contains(key);
  if (member == nullptr) fail(fmt::format("expected a member {}, found none", key));
  return JsonNode(member, *this, std::string(key));
}

JsonNode JsonNode::get(std::string_view key) const {
  return JsonNode(as_object().if_contains(key), *this, std::string(key));
}

bool JsonNode::has(std::string_view key) const {
  const boost::json::value* member = as_object().if_contains(key);
  return member != nullptr && !member->is_null();
}

const boost::json::object& JsonNode::as_object() const {
  if (value_ == nullptr || !value_->is_object()) wrong_type("an object");
  return value_->get_object();
}

const boost::json::array& JsonNode::as_array() const {
  if (value_ == nullptr || !value_->is_array()) wrong_type("an array");
  return value_->get_array();
}

std::vector<JsonNode> JsonNode::items() const {
  std::vector<JsonNode> nodes;
  for (const auto& item : as_array()) nodes.push_back(JsonNode(&item, *this, std::to_string(nodes.size())));
  return nodes;
}

std::string JsonNode::as_string() const {
  if (value_ == nullptr || !value_->is_string()) wrong_type("a string");
  const auto& text = value_->get_string();
  return std::string(text.data(), text.size());
}

bool JsonNode::as_bool() const {
  if (value_ == nullptr || !value_->is_bool()) wrong_type("a boolean");
  return value_->get_bool();
}

double JsonNode::as_number() const {
  if (value_ == nullptr || !value_->is_number()) wrong_type("a number");
  return value_->to_number<double>();
}

int64_t JsonNode::as_integer(int64_t low, int64_t high) const {
  if (value_ == nullptr || (!value_->is_int64() && !value_->is_uint64()))
    wrong_type(fmt::format("an integer from {} to {}", low, high));
  const bool beyond = value_->is_uint64();  // Boost.JSON uses it only above the range of int64
  if (beyond || value_->get_int64() < low || value_->get_int64() > high)
    fail(fmt::format("expected an integer from {} to {}, found {}", low, high,
                     beyond ? std::to_string(value_->get_uint64()) : std::to_string(value_->get_int64())));
  return value_->get_int64();
}

std::string JsonNode::string_or(std::string_view key, std::string_view otherwise) const {
  return has(key) ? at(key).as_string() : std::string(otherwise);
}

bool JsonNode::bool_or(std::string_view key, bool otherwise) const {
  return has(key) ? at(key).as_bool() : otherwise;
}

int64_t JsonNode::integer_or(std::string_view key, int64_t low, int64_t high, int64_t otherwise) const {
  return has(key) ? at(key).as_integer(low, high) : otherwise;
}

}  // namespace batchmax::coordinator
