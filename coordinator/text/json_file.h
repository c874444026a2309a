// Reads the JSON files of a model folder strictly and says, for whatever is wrong, which file, which key,
// what was expected and what was found. Every error is a std::runtime_error.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace batchmax::coordinator {

// Whole content of a file; throws where it cannot be read.
std::string read_file(const std::string& path);

// Strict: duplicate keys, numbers beyond the range of double, invalid UTF-8 and nesting deeper than 64 are
// errors. `name` goes into the messages.
boost::json::value parse_json(std::string_view text, const std::string& name);

// A value inside a file, and the way to it. Refers to the parsed document and must not outlive it.
class JsonNode {
 public:
  JsonNode(const boost::json::value& value, std::string file) : value_(&value), file_(std::move(file)) {}

  // Members of an object. at: the key must be there. get: null where it is not. has: there and not null.
  JsonNode at(std::string_view key) const;
  JsonNode get(std::string_view key) const;
  bool has(std::string_view key) const;

  bool is_null() const { return value_ == nullptr || value_->is_null(); }
  bool is_string() const { return value_ != nullptr && value_->is_string(); }
  bool is_array() const { return value_ != nullptr && value_->is_array(); }
  bool is_object() const { return value_ != nullptr && value_->is_object(); }

  const boost::json::object& as_object() const;
  const boost::json::array& as_array() const;
  std::vector<JsonNode> items() const;  // of an array
  std::string as_string() const;
  bool as_bool() const;
  double as_number() const;
  // An integer of the closed range.
  int64_t as_integer(int64_t low, int64_t high) const;

  // Members with a value for when the key is absent or null.
  std::string string_or(std::string_view key, std::string_view otherwise) const;
  bool bool_or(std::string_view key, bool otherwise) const;
  int64_t integer_or(std::string_view key, int64_t low, int64_t high, int64_t otherwise) const;

  // Throws std::runtime_error: "FILE: key KEY: reason".
  [[noreturn]] void fail(const std::string& reason) const;

 private:
  JsonNode(const boost::json::value* value, const JsonNode& parent, const std::string& step);
  [[noreturn]] void wrong_type(std::string_view expected) const;

  const boost::json::value* value_;  // null pointer: an absent member
  std::string file_;
  std::string path_;
};

}  // namespace batchmax::coordinator
