#include "coordinator/gateway/field_reader.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <limits>

namespace batchmax::coordinator {

void FieldReader::fail(std::string_view field, std::string message) {
  fail(invalid_field(std::string(field), std::move(message)));
}

void FieldReader::fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

const boost::json::value* FieldReader::find(std::string_view field) {
  read_.emplace(field);
  if (error_) return nullptr;
  const boost::json::value* value = object_.if_contains(field);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<int64_t> as_integer(const boost::json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64()) return std::nullopt;  // beyond int64
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  // 2^53: beyond it neighbouring integers are the same double.
  if (number != std::floor(number) || std::abs(number) > 9007199254740992.0) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::optional<std::vector<int32_t>> as_ids(const boost::json::array& array, int32_t low, int32_t high) {
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const auto& item : array) {
    const auto id = as_integer(item);
    if (!id || *id < low || *id > high) return std::nullopt;
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

std::optional<int64_t> FieldReader::integer(std::string_view field, int64_t low, int64_t high) {
  const boost::json::value* value = find(field);
  if (value == nullptr) return std::nullopt;
  const auto integer = as_integer(*value);
  if (integer && *integer >= low && *integer <= high) return integer;
  fail(field, fmt::format("{} must be an integer from {} to {}.", field, low, high));
  return std::nullopt;
}

std::optional<double> FieldReader::number(std::string_view field, double low, double high, bool except_low) {
  const boost::json::value* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const double number = value->to_number<double>();
    if (std::isfinite(number) && number <= high && (except_low ? number > low : number >= low)) return number;
  }
  fail(field,
       fmt::format("{} must be a number {} {} to {}.", field, except_low ? "above" : "from", low, high));
  return std::nullopt;
}

std::optional<bool> FieldReader::boolean(std::string_view field) {
  const boost::json::value* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  fail(field, fmt::format("{} must be true or false.", field));
  return std::nullopt;
}

std::optional<std::string> FieldReader::text(std::string_view field, size_t max_bytes) {
  const boost::json::value* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    fail(field, fmt::format("{} must be a string.", field));
    return std::nullopt;
  }
  if (value->get_string().size() > max_bytes) {
    fail(field, fmt::format("{} must be at most {} bytes long.", field, max_bytes));
    return std::nullopt;
  }
  return std::string(value->get_string());
}

std::optional<std::vector<int32_t>> FieldReader::integers(std::string_view field, size_t max_count,
                                                          int32_t low, int32_t high) {
  const boost::json::value* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (value->is_array() && value->get_array().size() <= max_count) {
    if (auto ids = as_ids(value->get_array(), low, high)) return ids;
  }
  fail(field,
       fmt::format("{} must be a list of at most {} integers from {} to {}.", field, max_count, low, high));
  return std::nullopt;
}

std::vector<std::string> FieldReader::unread() const {
  std::vector<std::string> names;
  for (const auto& member : object_) {
    const std::string_view name(member.key().data(), member.key().size());
    if (!read_.contains(name)) names.emplace_back(name);
  }
  return names;
}

}  // namespace batchmax::coordinator
