#include "coordinator/text/template_methods.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/text/template_parameters.h"

namespace batchmax::coordinator::jinja {
namespace {

using Method = Value (*)(Rendering&, const Value& self, const Arguments&);
struct Entry {
  std::string_view name;
  Method method;
};

Value get(Rendering&, const Value& self, const Arguments& arguments) {
  const Parameters given("get", arguments, {"key", "default"});
  const Value* value = self.as_dict().find(given.at(0));
  return value != nullptr ? *value : given.value_or(1, Value::none());
}

Value keys(Rendering& rendering, const Value& self, const Arguments& arguments) {
  const Parameters given("keys", arguments, {});
  rendering.charge(self.length());
  return Value::list(self.items());
}

Value values(Rendering& rendering, const Value& self, const Arguments& arguments) {
  const Parameters given("values", arguments, {});
  rendering.charge(self.length());
  std::vector<Value> all;
  for (const auto& [key, value] : self.as_dict().entries()) all.push_back(value);
  return Value::list(std::move(all));
}

Value items(Rendering& rendering, const Value& self, const Arguments& arguments) {
  const Parameters given("items", arguments, {});
  rendering.charge(self.length());
  std::vector<Value> all;
  for (const auto& [key, value] : self.as_dict().entries()) all.push_back(Value::tuple({key, value}));
  return Value::list(std::move(all));
}

Value copy(Rendering&, const Value& self, const Arguments& arguments) {
  const Parameters given("copy", arguments, {});
  return self;
}

Value count(Rendering& rendering, const Value& self, const Arguments& arguments) {
  const Parameters given("count", arguments, {"value"});
  const auto& list = self.as_list().items;
  rendering.charge(list.size() + self.weight() / 32);
  return Value::integer(std::count(list.begin(), list.end(), given.at(0)));
}

Value index(Rendering& rendering, const Value& self, const Arguments& arguments) {
  const Parameters given("index", arguments, {"value"});
  const auto& list = self.as_list().items;
  rendering.charge(list.size() + self.weight() / 32);
  const auto place = std::find(list.begin(), list.end(), given.at(0));
  if (place == list.end())
    throw OperationError(fmt::format("{} is not in list", given.at(0).representation().substr(0, 100)));
  return Value::integer(place - list.begin());
}

Value refuse(Rendering&, const Value& self, const Arguments&) {
  throw OperationError(
      fmt::format("a {} cannot be changed here: templates make a new one", self.type_name()));
}

constexpr Entry kDictMethods[] = {
    {"get", get},    {"items", items},   {"keys", keys},    {"values", values},  {"copy", copy},
    {"pop", refuse}, {"update", refuse}, {"clear", refuse}, {"popitem", refuse}, {"setdefault", refuse}};
constexpr Entry kListMethods[] = {{"count", count},   {"index", index},   {"copy", copy},
                                  {"append", refuse}, {"extend", refuse}, {"pop", refuse},
                                  {"insert", refuse}, {"remove", refuse}, {"sort", refuse},
                                  {"clear", refuse},  {"reverse", refuse}};
constexpr Entry kTupleMethods[] = {{"count", count}, {"index", index}};

template <typename Entries>
Method find_entry(const Entries& entries, std::string_view name) {
  for (const Entry& entry : entries)
    if (entry.name == name) return entry.method;
  return nullptr;
}

Method find_in(const Value& value, std::string_view name) {
  if (value.is_dict()) return find_entry(kDictMethods, name);
  if (!value.is_list() || value.as_list().kind == List::Kind::kGenerator) return nullptr;
  return value.as_list().kind == List::Kind::kTuple ? find_entry(kTupleMethods, name)
                                                    : find_entry(kListMethods, name);
}

class BoundMethod : public Function {
 public:
  BoundMethod(Value self, Method method) : self_(std::move(self)), method_(method) {}
  Value call(Rendering& rendering, const Arguments& arguments) override {
    return method_(rendering, self_, arguments);
  }

 private:
  Value self_;
  Method method_;
};

class BoundStringMethod : public Function {
 public:
  BoundStringMethod(Value self, StringMethod method) : self_(std::move(self)), method_(method) {}
  Value call(Rendering& rendering, const Arguments& arguments) override {
    rendering.charge_text(self_.as_string().size());
    return method_(rendering, self_.as_string(), arguments);
  }

 private:
  Value self_;
  StringMethod method_;
};

}  // namespace

std::optional<Value> find_method(const Value& value, std::string_view name) {
  if (value.is_string()) {
    const StringMethod method = find_string_method(name);
    if (method == nullptr) return std::nullopt;
    return Value::object(std::make_shared<BoundStringMethod>(value, method));
  }
  const Method method = find_in(value, name);
  if (method == nullptr) return std::nullopt;
  return Value::object(std::make_shared<BoundMethod>(value, method));
}

}  // namespace batchmax::coordinator::jinja
