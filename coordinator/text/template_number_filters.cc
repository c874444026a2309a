// Filters of numbers.
#include <charconv>
#include <cmath>

#include "coordinator/text/template_filters.h"
#include "coordinator/text/template_letters.h"
#include "coordinator/text/template_operators.h"
#include "coordinator/text/template_parameters.h"

namespace batchmax::coordinator::jinja {
namespace {

// The number that Python's float() or int() reads from a text, or nothing.
template <typename Number, typename... Base>
std::optional<Number> read(const std::string& text, Base... base) {
  std::string digits(stripped(text, "", true, true));
  std::erase(digits, '_');
  std::string_view view = digits;
  if (view.starts_with('+')) view.remove_prefix(1);
  Number number{};
  const auto end = std::from_chars(view.data(), view.data() + view.size(), number, base...);
  if (view.empty() || end.ec != std::errc() || end.ptr != view.data() + view.size()) return std::nullopt;
  return number;
}

// Other than what is no number, int and float do not forgive it.
void refuse_undefined(const Value& value) {
  if (value.is_undefined()) throw OperationError(value.why_undefined());
}

bool fits(double number) { return std::abs(number) < 9.2e18; }

Value to_int(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("int", arguments, {"default", "base"});
  refuse_undefined(value);
  const Value otherwise = given.value_or(0, Value::integer(0));
  if (value.is_integer() || value.is_bool()) return Value::integer(value.as_integer());
  if (value.is_real())
    return fits(value.as_real()) ? Value::integer(static_cast<int64_t>(value.as_real())) : otherwise;
  if (!value.is_string()) return otherwise;
  const auto base = static_cast<int>(given.integer_or(1, 10));
  if (base < 2 || base > 36) return otherwise;
  std::string text = value.as_string();
  if (base == 16 && (text.starts_with("0x") || text.starts_with("0X"))) text = text.substr(2);
  if (const auto number = read<int64_t>(text, base)) return Value::integer(*number);
  const auto real = read<double>(text);
  return real && fits(*real) ? Value::integer(static_cast<int64_t>(*real)) : otherwise;
}

Value to_float(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("float", arguments, {"default"});
  refuse_undefined(value);
  if (value.is_number()) return Value::real(value.as_real());
  if (value.is_string()) {
    if (const auto number = read<double>(value.as_string())) return Value::real(*number);
  }
  return given.value_or(0, Value::real(0));
}

Value absolute(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("abs", arguments, {});
  if (value.is_real()) return Value::real(std::abs(value.as_real()));
  const bool negative = value.is_number() && value.as_integer() < 0;
  return unary_operation(negative ? Unary::Operator::kMinus : Unary::Operator::kPlus, value);
}

Value round(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("round", arguments, {"precision", "method"});
  if (value.is_undefined()) throw OperationError(value.why_undefined());
  if (!value.is_number()) throw OperationError("round takes a number, not " + value.type_name());
  const std::string method = given.string_or(1, "common");
  const int64_t precision = given.integer_or(0, 0);
  const double scale = std::pow(10.0, static_cast<double>(precision)), number = value.as_real();
  if (method == "ceil") return Value::real(std::ceil(number * scale) / scale);
  if (method == "floor") return Value::real(std::floor(number * scale) / scale);
  if (method != "common") throw OperationError("method must be common, ceil or floor");
  if (!value.is_real())
    return precision >= 0 ? value
                          : Value::integer(static_cast<int64_t>(std::nearbyint(number * scale) / scale));
  if (precision < 0 || precision > 300) return Value::real(std::nearbyint(number * scale) / scale);
  // Through decimal digits: what rounds to even is the exact binary number, as in Python.
  char digits[700];
  const auto end = std::to_chars(digits, digits + sizeof digits, number, std::chars_format::fixed,
                                 static_cast<int>(precision));
  double rounded = number;
  std::from_chars(digits, end.ptr, rounded);
  return Value::real(rounded);
}

constexpr FilterEntry kFilters[] = {
    {"abs", absolute}, {"float", to_float}, {"int", to_int}, {"round", round}};

}  // namespace

Filter find_number_filter(std::string_view name) { return find_in_table(kFilters, name); }

}  // namespace batchmax::coordinator::jinja
