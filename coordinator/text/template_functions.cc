#include "coordinator/text/template_functions.h"

#include <fmt/format.h>

#include <ctime>

#include "coordinator/text/template_methods.h"
#include "coordinator/text/template_parameters.h"
#include "coordinator/text/template_rendering.h"

namespace batchmax::coordinator::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // that of Jinja's sandbox

using Native = Value (*)(Rendering&, const Arguments&);

class NativeFunction : public Function {
 public:
  explicit NativeFunction(Native native) : native_(native) {}
  Value call(Rendering& rendering, const Arguments& arguments) override {
    return native_(rendering, arguments);
  }

 private:
  Native native_;
};

Value range(Rendering& rendering, const Arguments& arguments) {
  const Parameters given("range", arguments, {"start", "stop", "step"});
  const bool one = !given.has(1);
  const int64_t start = one ? 0 : given.integer(0), stop = one ? given.integer(0) : given.integer(1);
  const int64_t step = given.integer_or(2, 1);
  if (step == 0) throw OperationError("range: step must not be zero");
  std::vector<Value> numbers;
  for (int64_t number = start; step > 0 ? number < stop : number > stop;) {
    if (numbers.size() >= kMaxRange) throw OperationError(fmt::format("range of more than {}", kMaxRange));
    rendering.charge(1);
    numbers.push_back(Value::integer(number));
    if (__builtin_add_overflow(number, step, &number)) break;
  }
  return Value::list(std::move(numbers));
}

void fill(Arguments const& arguments, Dict& dict) {
  if (arguments.positional.size() > 1) throw OperationError("dict takes one mapping");
  for (const Value& given : arguments.positional) {
    if (given.is_dict()) {
      for (const auto& [key, value] : given.as_dict().entries()) dict.set(key, value);
      continue;
    }
    for (const Value& pair : given.items()) {
      const std::vector<Value> parts = pair.items();
      if (parts.size() != 2) throw OperationError("dict takes a mapping, or pairs");
      dict.set(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value::string(name), value);
}

Value make_dict(Rendering& rendering, const Arguments& arguments) {
  Dict dict;
  fill(arguments, dict);
  rendering.charge(dict.entries().size());
  return Value::dict(std::move(dict));
}

Value make_namespace(Rendering& rendering, const Arguments& arguments) {
  Dict dict;
  fill(arguments, dict);
  auto made = std::make_shared<Namespace>();
  for (const auto& [name, value] : dict.entries()) {
    if (!name.is_string()) throw OperationError("namespace takes names that are strings");
    made->set(name.as_string(), value);
  }
  rendering.objects.push_back(made);
  return Value::object(std::move(made));
}

class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(std::string_view name) const override;
  const Value& current() const {
    if (items_.empty()) throw OperationError("the cycler belongs to another rendering");
    return items_[at_];
  }
  Value next() {
    Value value = current();
    at_ = (at_ + 1) % items_.size();
    return value;
  }
  void reset() { at_ = 0; }
  void clear() override { items_.clear(); }

 private:
  std::vector<Value> items_;
  size_t at_ = 0;
};

class CyclerMethod : public Function {
 public:
  CyclerMethod(Cycler& cycler, bool next) : cycler_(cycler), next_(next) {}
  Value call(Rendering&, const Arguments&) override {
    if (next_) return cycler_.next();
    cycler_.reset();
    return Value::none();
  }

 private:
  Cycler& cycler_;  // the rendering owns it
  bool next_;
};

std::optional<Value> Cycler::attribute(std::string_view name) const {
  if (name == "current") return current();
  // Only a cycler that is not const can be reached by a template.
  auto& self = const_cast<Cycler&>(*this);
  if (name == "next" || name == "reset")
    return Value::object(std::make_shared<CyclerMethod>(self, name == "next"));
  return std::nullopt;
}

Value make_cycler(Rendering& rendering, const Arguments& arguments) {
  if (arguments.positional.empty()) throw OperationError("cycler needs at least one item");
  auto made = std::make_shared<Cycler>(arguments.positional);
  rendering.objects.push_back(made);
  return Value::object(std::move(made));
}

class Joiner : public Function {
 public:
  explicit Joiner(std::string separator) : separator_(std::move(separator)) {}
  Value call(Rendering&, const Arguments&) override {
    return Value::string(std::exchange(used_, true) ? separator_ : std::string());
  }

 private:
  std::string separator_;
  bool used_ = false;
};

Value make_joiner(Rendering&, const Arguments& arguments) {
  const Parameters given("joiner", arguments, {"sep"});
  return Value::object(std::make_shared<Joiner>(given.string_or(0, ", ")));
}

Value raise_exception(Rendering&, const Arguments& arguments) {
  const Parameters given("raise_exception", arguments, {"message"});
  throw OperationError(given.at(0).text());
}

Value strftime_now(Rendering& rendering, const Arguments& arguments) {
  const Parameters given("strftime_now", arguments, {"format"});
  const std::string& format = given.string(0);
  const std::time_t now = std::chrono::system_clock::to_time_t(rendering.now);
  std::tm local{};
  localtime_r(&now, &local);
  if (format.empty()) return Value::string("");
  if (format.size() > 1000) throw OperationError("strftime_now: a format of more than 1000 bytes");
  std::string text(format.size() * 32 + 64, '\0');  // no conversion makes more of a letter
  text.resize(std::strftime(text.data(), text.size(), format.c_str(), &local));
  return Value::string(std::move(text));
}

constexpr std::pair<std::string_view, Native> kFunctions[] = {{"range", range},
                                                              {"dict", make_dict},
                                                              {"namespace", make_namespace},
                                                              {"cycler", make_cycler},
                                                              {"joiner", make_joiner},
                                                              {"raise_exception", raise_exception},
                                                              {"strftime_now", strftime_now}};

}  // namespace

void define_functions(Scope& scope) {
  for (const auto& [name, native] : kFunctions)
    scope.set(name, Value::object(std::make_shared<NativeFunction>(native)));
}

}  // namespace batchmax::coordinator::jinja
