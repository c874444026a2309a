// Filters of lists, dicts and whatever can be looped over.
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "coordinator/text/template_filters.h"
#include "coordinator/text/template_letters.h"
#include "coordinator/text/template_operators.h"
#include "coordinator/text/template_parameters.h"

namespace batchmax::coordinator::jinja {
namespace {

std::vector<Value> items_of(Rendering& rendering, const Value& value) {
  if (value.is_string()) rendering.charge(value.as_string().size());
  std::vector<Value> items = value.items();
  rendering.charge(items.size());
  return items;
}

// What sort, unique, min and so on compare an item by.
Value sort_key(Rendering& rendering, const Value& item, const Value& attribute, bool case_sensitive) {
  Value key = attribute.is_undefined() || attribute.is_none() ? item : get_path(rendering, item, attribute);
  rendering.charge(1 + key.weight() / 8);
  return !case_sensitive && key.is_string() ? Value::string(lower_text(key.as_string())) : key;
}

// Sorted by the keys, which stand first; stable.
void sort_pairs(std::vector<std::pair<Value, Value>>& pairs, bool reverse) {
  const auto before = [](const auto& a, const auto& b) { return Value::compare(a.first, b.first, "<") < 0; };
  if (reverse) {  // equal items keep their order, as in Python
    std::stable_sort(pairs.begin(), pairs.end(), [&](const auto& a, const auto& b) { return before(b, a); });
  } else {
    std::stable_sort(pairs.begin(), pairs.end(), before);
  }
}

Value sort(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  std::vector<std::pair<Value, Value>> pairs;
  const Value attribute = given.value_or(2, Value::none());
  // a,b: by a, then by b.
  std::vector<Value> paths;
  if (attribute.is_string()) {
    for (std::string_view rest = attribute.as_string();;) {
      const size_t comma = rest.find(',');
      paths.push_back(Value::string(std::string(rest.substr(0, comma))));
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  } else {
    paths.push_back(attribute);
  }
  for (const Value& item : items_of(rendering, value)) {
    std::vector<Value> keys;
    for (const Value& path : paths) keys.push_back(sort_key(rendering, item, path, given.truth_or(1, false)));
    rendering.charge(20);
    pairs.emplace_back(Value::list(std::move(keys)), item);
  }
  sort_pairs(pairs, given.truth_or(0, false));
  std::vector<Value> sorted;
  for (auto& pair : pairs) sorted.push_back(std::move(pair.second));
  return Value::list(std::move(sorted));
}

Value dictsort(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  if (!value.is_dict()) throw OperationError("dictsort takes a dict, not " + value.type_name());
  const std::string by = given.string_or(1, "key");
  if (by != "key" && by != "value") throw OperationError("dictsort sorts by key or by value");
  std::vector<std::pair<Value, Value>> pairs;
  for (const auto& [key, member] : value.as_dict().entries()) {
    rendering.charge(20);
    pairs.emplace_back(
        sort_key(rendering, by == "key" ? key : member, Value::none(), given.truth_or(0, false)),
        Value::tuple({key, member}));
  }
  sort_pairs(pairs, given.truth_or(2, false));
  std::vector<Value> sorted;
  for (auto& pair : pairs) sorted.push_back(std::move(pair.second));
  return Value::list(std::move(sorted));
}

Value unique(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("unique", arguments, {"case_sensitive", "attribute"});
  Dict seen;
  std::vector<Value> kept;
  for (const Value& item : items_of(rendering, value)) {
    const Value key = sort_key(rendering, item, given.value_or(1, Value::none()), given.truth_or(0, false));
    if (seen.find(key) != nullptr) continue;
    seen.set(key, Value::none());
    kept.push_back(item);
  }
  return Value::generator(std::move(kept));
}

template <int kSign>
Value extreme(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("min", arguments, {"case_sensitive", "attribute"});
  const std::vector<Value> items = items_of(rendering, value);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const auto key = [&](const Value& item) {
    return sort_key(rendering, item, given.value_or(1, Value::none()), given.truth_or(0, false));
  };
  const Value* best = &items.front();
  Value best_key = key(*best);
  for (const Value& item : std::span(items).subspan(1)) {
    Value other = key(item);
    if (Value::compare(other, best_key, "<") * kSign >= 0) continue;
    best = &item;
    best_key = std::move(other);
  }
  return *best;
}

Value sum(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("sum", arguments, {"attribute", "start"});
  Value total = given.value_or(1, Value::integer(0));
  for (const Value& item : items_of(rendering, value)) {
    const Value part = given.has(0) ? get_path(rendering, item, given.at(0)) : item;
    total = binary_operation(rendering, Binary::Operator::kAdd, total, part);
  }
  return total;
}

Value groupby(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("groupby", arguments, {"attribute", "default", "case_sensitive"});
  const Value otherwise = given.value_or(1, Value::none());
  std::vector<std::pair<Value, Value>> pairs;
  for (const Value& item : items_of(rendering, value)) {
    const Value key = get_path(rendering, item, given.at(0), given.has(1) ? &otherwise : nullptr);
    rendering.charge(20);
    pairs.emplace_back(sort_key(rendering, key, Value::none(), given.truth_or(2, false)), item);
  }
  sort_pairs(pairs, false);
  std::vector<Value> groups;
  for (size_t begin = 0; begin < pairs.size();) {
    std::vector<Value> group;
    size_t end = begin;
    while (end < pairs.size() && pairs[end].first == pairs[begin].first) group.push_back(pairs[end++].second);
    const Value label = get_path(rendering, group.front(), given.at(0), given.has(1) ? &otherwise : nullptr);
    groups.push_back(Value::group(label, Value::list(std::move(group))));
    begin = end;
  }
  return Value::list(std::move(groups));
}

Value join(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("join", arguments, {"d", "attribute"});
  const std::string separator = given.has(0) ? given.at(0).text() : std::string();
  std::string text;
  bool first = true;
  for (const Value& item : items_of(rendering, value)) {
    if (!std::exchange(first, false)) text += separator;
    const Value part = given.has(1) ? get_path(rendering, item, given.at(1)) : item;
    rendering.charge_text(part.weight());
    rendering.charge(1 + separator.size() / 32);
    text += part.text();
    if (text.size() > kMaxTextBytes) rendering.charge_text(text.size());
  }
  return Value::string(std::move(text));
}

Value first(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("first", arguments, {});
  if (value.is_list() && !value.as_list().items.empty()) return value.as_list().items.front();
  const std::vector<Value> items = items_of(rendering, value);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value last(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("last", arguments, {});
  if (value.is_list() && !value.as_list().items.empty()) return value.as_list().items.back();
  const std::vector<Value> items = items_of(rendering, value);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value length(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("length", arguments, {});
  if (value.is_string()) rendering.charge(value.as_string().size() / 32);
  return Value::integer(static_cast<int64_t>(value.length()));
}

Value list(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("list", arguments, {});
  return Value::list(items_of(rendering, value));
}

Value reverse(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("reverse", arguments, {});
  std::vector<Value> items = items_of(rendering, value);
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) return Value::generator(std::move(items));
  std::string text;
  for (const Value& item : items) text += item.as_string();
  return Value::string(std::move(text));
}

Value pairs(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("items", arguments, {});
  if (value.is_undefined()) return Value::generator({});
  if (!value.is_dict()) throw OperationError("Can only get item pairs from a mapping.");
  rendering.charge(value.length());
  std::vector<Value> all;
  for (const auto& [key, member] : value.as_dict().entries()) all.push_back(Value::tuple({key, member}));
  return Value::generator(std::move(all));
}

Value batch(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("batch", arguments, {"linecount", "fill_with"});
  const auto size = static_cast<size_t>(std::max<int64_t>(1, given.integer(0)));
  std::vector<Value> batches, current;
  for (const Value& item : items_of(rendering, value)) {
    current.push_back(item);
    if (current.size() == size) batches.push_back(Value::list(std::exchange(current, {})));
  }
  if (!current.empty()) {
    if (given.has(1)) {
      rendering.charge(size);
      current.resize(size, given.at(1));
    }
    batches.push_back(Value::list(std::move(current)));
  }
  return Value::generator(std::move(batches));
}

Value slice(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("slice", arguments, {"slices", "fill_with"});
  const std::vector<Value> items = items_of(rendering, value);
  if (given.integer(0) < 1) throw OperationError("slice: slices must be 1 or more");
  const auto slices = static_cast<size_t>(given.integer(0));
  rendering.charge(slices);
  const size_t each = items.size() / slices, larger = items.size() % slices;
  std::vector<Value> parts;
  for (size_t i = 0, at = 0; i < slices; ++i) {
    const size_t count = each + (i < larger ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                            items.begin() + static_cast<std::ptrdiff_t>(at + count));
    if (given.has(1) && i >= larger) part.push_back(given.at(1));
    parts.push_back(Value::list(std::move(part)));
    at += count;
  }
  return Value::generator(std::move(parts));
}

Value otherwise(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("default", arguments, {"default_value", "boolean"});
  if (value.is_undefined() || (given.truth_or(1, false) && !value.truth()))
    return given.value_or(0, Value::string(""));
  return value;
}

Value attr(Rendering&, const Value& value, const Arguments& arguments) {
  const Parameters given("attr", arguments, {"name"});
  // Attributes only: not the keys of a dict.
  if (value.is_dict())
    return Value::undefined(fmt::format("'dict object' has no attribute '{}'", given.string(0)));
  return get_attribute(value, given.string(0));
}

constexpr FilterEntry kFilters[] = {
    {"attr", attr},         {"batch", batch},       {"count", length},   {"d", otherwise},
    {"default", otherwise}, {"dictsort", dictsort}, {"first", first},    {"groupby", groupby},
    {"items", pairs},       {"join", join},         {"last", last},      {"length", length},
    {"list", list},         {"max", extreme<-1>},   {"min", extreme<1>}, {"reverse", reverse},
    {"slice", slice},       {"sort", sort},         {"sum", sum},        {"unique", unique}};

}  // namespace

Filter find_sequence_filter(std::string_view name) { return find_in_table(kFilters, name); }

}  // namespace batchmax::coordinator::jinja
