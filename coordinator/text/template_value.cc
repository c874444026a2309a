#include "coordinator/text/template_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cmath>

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

// Equal keys of a dict have the same text here: 1, 1.0 and True are one key.
std::string hash_text(const Value& key) {
  if (key.is_string()) return "s" + key.as_string();
  if (key.is_none()) return "n";
  if (key.is_undefined()) return "u";
  if (key.is_integer() || key.is_bool()) return fmt::format("i{}", key.as_integer());
  if (key.is_real()) {
    const double number = key.as_real();
    if (number == std::floor(number) && std::abs(number) < 9e18)
      return fmt::format("i{}", static_cast<int64_t>(number));
    return fmt::format("f{}", number);
  }
  if (key.is_object()) return fmt::format("o{}", static_cast<const void*>(&key.as_object()));
  if (key.is_list() && key.as_list().kind == List::Kind::kTuple) {
    std::string text = "t";
    for (const Value& item : key.as_list().items) {
      const std::string part = hash_text(item);
      text += fmt::format("{}:{}", part.size(), part);
    }
    return text;
  }
  throw OperationError(fmt::format("unhashable type: '{}'", key.type_name()));
}

constexpr uint64_t kMaxWeight = uint64_t{1} << 40;

int nesting_around(const Value& item) {
  const int nesting = item.nesting() + 1;
  if (nesting > kMaxNesting)
    throw OperationError(fmt::format("lists and dicts nest deeper than {}", kMaxNesting));
  return nesting;
}

template <typename T>
int three_way(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

bool equal_lists(const List& a, const List& b) {
  return a.kind == b.kind && a.kind != List::Kind::kGenerator && a.items == b.items;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries().size() != b.entries().size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && *other == entry.second;
  });
}

}  // namespace

Value Value::undefined(std::string reason) {
  return Value(Data(Undefined{std::make_shared<const std::string>(std::move(reason))}));
}
Value Value::none() { return Value(Data(None{})); }
Value Value::boolean(bool truth) { return Value(Data(truth)); }
Value Value::integer(int64_t number) { return Value(Data(number)); }
Value Value::real(double number) { return Value(Data(number)); }
Value Value::string(std::string text) {
  return Value(Data(std::make_shared<const std::string>(std::move(text))));
}
Value Value::list(std::vector<Value> items) {
  return Value(Data(std::make_shared<const List>(std::move(items), List::Kind::kList)));
}
Value Value::tuple(std::vector<Value> items) {
  return Value(Data(std::make_shared<const List>(std::move(items), List::Kind::kTuple)));
}
Value Value::generator(std::vector<Value> items) {
  return Value(Data(std::make_shared<const List>(std::move(items), List::Kind::kGenerator)));
}
Value Value::group(Value grouper, Value list) {
  const auto pair =
      std::make_shared<List>(std::vector<Value>{std::move(grouper), std::move(list)}, List::Kind::kTuple);
  pair->is_group = true;
  return Value(Data(std::shared_ptr<const List>(pair)));
}
Value Value::dict(Dict dict) { return Value(Data(std::make_shared<const Dict>(std::move(dict)))); }
Value Value::object(std::shared_ptr<Object> object) { return Value(Data(std::move(object))); }

Value Value::from_json(const boost::json::value& json) {
  switch (json.kind()) {
    case boost::json::kind::null:
      return none();
    case boost::json::kind::bool_:
      return boolean(json.get_bool());
    case boost::json::kind::int64:
      return integer(json.get_int64());
    case boost::json::kind::uint64:  // Boost.JSON uses it only above the range of int64
      return real(static_cast<double>(json.get_uint64()));
    case boost::json::kind::double_:
      return real(json.get_double());
    case boost::json::kind::string:
      return string(std::string(json.get_string().data(), json.get_string().size()));
    case boost::json::kind::array: {
      std::vector<Value> items;
      items.reserve(json.get_array().size());
      for (const auto& item : json.get_array()) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case boost::json::kind::object: {
      Dict members;
      for (const auto& [key, member] : json.get_object())
        members.set(string(std::string(key.data(), key.size())), from_json(member));
      return dict(std::move(members));
    }
  }
  return none();
}

int64_t Value::as_integer() const {
  if (const bool* truth = std::get_if<bool>(&data_)) return *truth ? 1 : 0;
  return std::get<int64_t>(data_);
}

double Value::as_real() const {
  if (const double* number = std::get_if<double>(&data_)) return *number;
  return static_cast<double>(as_integer());
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_real()) return as_real() != 0;
  if (is_bool() || is_integer()) return as_integer() != 0;
  if (is_string()) return !as_string().empty();
  if (is_list()) return as_list().kind == List::Kind::kGenerator || !as_list().items.empty();
  if (is_dict()) return !as_dict().entries().empty();
  return true;
}

int Value::nesting() const { return is_list() ? as_list().nesting : is_dict() ? as_dict().nesting() : 0; }

uint64_t Value::weight() const {
  if (is_string()) return as_string().size();
  return is_list() ? as_list().weight : is_dict() ? as_dict().weight() : 24;
}

bool Value::is_callable() const { return is_object() && as_object().is_callable(); }

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_real()) return "float";
  if (is_string()) return "str";
  if (is_dict()) return "dict";
  if (is_object()) return as_object().type_name();
  switch (as_list().kind) {
    case List::Kind::kList:
      return "list";
    case List::Kind::kTuple:
      return "tuple";
    case List::Kind::kGenerator:
      break;
  }
  return "generator";
}

size_t Value::length() const {
  if (is_undefined()) return 0;
  if (is_string()) return count_code_points(as_string());
  if (is_list() && as_list().kind != List::Kind::kGenerator) return as_list().items.size();
  if (is_dict()) return as_dict().entries().size();
  throw OperationError(fmt::format("object of type '{}' has no len()", type_name()));
}

std::vector<Value> Value::items() const {
  if (is_undefined()) return {};
  if (is_list()) return as_list().items;
  std::vector<Value> values;
  if (is_string()) {
    const std::string_view text = as_string();
    for (size_t at = 0; at < text.size();) {
      const size_t length = utf8_length(text[at]);
      values.push_back(string(std::string(text.substr(at, length))));
      at += length;
    }
    return values;
  }
  if (!is_dict()) throw OperationError(fmt::format("'{}' object is not iterable", type_name()));
  for (const auto& [key, value] : as_dict().entries()) values.push_back(key);
  return values;
}

bool operator==(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return a.as_real() == b.as_real();
    return a.as_integer() == b.as_integer();
  }
  if (a.data_.index() != b.data_.index()) return false;
  if (a.is_undefined() || a.is_none()) return true;
  if (a.is_string()) return a.as_string() == b.as_string();
  if (a.is_list()) return &a.as_list() == &b.as_list() || equal_lists(a.as_list(), b.as_list());
  if (a.is_dict()) return &a.as_dict() == &b.as_dict() || equal_dicts(a.as_dict(), b.as_dict());
  return &a.as_object() == &b.as_object();
}

bool Value::same_as(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_list()) return &as_list() == &other.as_list();
  if (is_dict()) return &as_dict() == &other.as_dict();
  return *this == other;
}

int Value::compare(const Value& a, const Value& b, std::string_view operation) {
  for (const Value* side : {&a, &b})
    if (side->is_undefined()) throw OperationError(side->why_undefined());
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return three_way(a.as_real(), b.as_real());
    return three_way(a.as_integer(), b.as_integer());
  }
  if (a.is_string() && b.is_string())
    return three_way(a.as_string(), b.as_string());  // UTF-8 keeps the order
  if (a.is_list() && b.is_list() && a.as_list().kind == b.as_list().kind) {
    const auto& left = a.as_list().items;
    const auto& right = b.as_list().items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i)
      if (!(left[i] == right[i])) return compare(left[i], right[i], operation);
    return three_way(left.size(), right.size());
  }
  throw OperationError(fmt::format("'{}' not supported between instances of '{}' and '{}'", operation,
                                   a.type_name(), b.type_name()));
}

List::List(std::vector<Value> values, Kind sort) : items(std::move(values)), kind(sort) {
  for (const Value& item : items) {
    nesting = std::max(nesting, nesting_around(item));
    weight = std::min(kMaxWeight, weight + item.weight() + 4);
  }
}

void Dict::set(const Value& key, Value value) {
  nesting_ = std::max({nesting_, nesting_around(key), nesting_around(value)});
  weight_ = std::min(kMaxWeight, weight_ + key.weight() + value.weight() + 8);
  const auto [place, is_new] = places_.try_emplace(hash_text(key), entries_.size());
  if (is_new) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[place->second].second = std::move(value);
  }
}

const Value* Dict::find(const Value& key) const {
  const auto place = places_.find(hash_text(key));
  return place == places_.end() ? nullptr : &entries_[place->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto place = places_.find("s" + std::string(key));
  return place == places_.end() ? nullptr : &entries_[place->second].second;
}

Value Object::call(Rendering&, const Arguments&) {
  throw OperationError(fmt::format("'{}' object is not callable", type_name()));
}

std::optional<Value> Namespace::attribute(std::string_view name) const {
  const Value* value = values_.find(name);
  return value == nullptr ? std::nullopt : std::optional<Value>(*value);
}

void Namespace::set(std::string_view name, Value value) {
  values_.set(Value::string(std::string(name)), std::move(value));
}

}  // namespace batchmax::coordinator::jinja
