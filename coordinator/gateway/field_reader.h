// Reads typed fields from a request's JSON object. The first fault is kept as the error, what follows it
// reads as absent; explicit nulls are absent. Remembers which fields were asked for, so that the rest can be
// named.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/gateway/api_error.h"

namespace batchmax::coordinator {

class FieldReader {
 public:
  explicit FieldReader(const boost::json::object& object) : object_(object) {}

  const std::optional<ApiError>& error() const { return error_; }
  void fail(std::string_view field, std::string message);
  void fail(ApiError error);

  // Null where absent, null, or after an error.
  const boost::json::value* find(std::string_view field);

  // Closed ranges; `except_low` leaves the low end out. Whole-numbered floats are integers.
  std::optional<int64_t> integer(std::string_view field, int64_t low, int64_t high);
  std::optional<double> number(std::string_view field, double low, double high, bool except_low = false);
  std::optional<bool> boolean(std::string_view field);
  std::optional<std::string> text(std::string_view field, size_t max_bytes);
  // A list of integers of the range.
  std::optional<std::vector<int32_t>> integers(std::string_view field, size_t max_count, int32_t low,
                                               int32_t high);

  // Members that nobody asked for.
  std::vector<std::string> unread() const;

 private:
  const boost::json::object& object_;
  std::set<std::string, std::less<>> read_;
  std::optional<ApiError> error_;
};

// An integer, also one that is written as 10.0.
std::optional<int64_t> as_integer(const boost::json::value& value);
std::optional<std::vector<int32_t>> as_ids(const boost::json::array& array, int32_t low, int32_t high);

}  // namespace batchmax::coordinator
