#include "coordinator/text/template_callables.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/text/template_parameters.h"

namespace batchmax::coordinator::jinja {
namespace {

class LoopMethod : public Function {
 public:
  LoopMethod(std::shared_ptr<LoopState> loop, bool cycles) : loop_(std::move(loop)), cycles_(cycles) {}
  Value call(Rendering&, const Arguments& arguments) override {
    return cycles_ ? loop_->cycle(arguments) : loop_->changed(arguments);
  }

 private:
  std::shared_ptr<LoopState> loop_;
  bool cycles_;
};

Value whole(size_t number) { return Value::integer(static_cast<int64_t>(number)); }

}  // namespace

void bind_parameters(const MacroDefinition& macro, const Arguments& arguments, Scope& scope) {
  const size_t count = macro.parameters.size();
  std::vector<Value> extra;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < count) {
      scope.set(macro.parameters[i], arguments.positional[i]);
    } else {
      extra.push_back(arguments.positional[i]);
    }
  }
  if (!extra.empty() && !macro.uses_varargs)
    throw OperationError(fmt::format("macro '{}' takes not more than {} argument(s)", macro.name, count));
  Dict named;
  Value caller = Value::undefined("No caller defined");
  for (const auto& [name, value] : arguments.named) {
    const auto place = std::find(macro.parameters.begin(), macro.parameters.end(), name);
    if (place != macro.parameters.end()) {
      if (scope.find_here(name) != nullptr)
        throw OperationError(
            fmt::format("macro '{}' got multiple values for argument '{}'", macro.name, name));
      scope.set(*place, value);
    } else if (name == "caller" && macro.uses_caller) {
      caller = value;
    } else if (macro.uses_kwargs) {
      named.set(Value::string(name), value);
    } else {
      throw OperationError(fmt::format("macro '{}' takes no keyword argument '{}'", macro.name, name));
    }
  }
  for (size_t i = 0; i + macro.defaults.size() < count; ++i) {
    const std::string& name = macro.parameters[i];
    if (scope.find_here(name) == nullptr)
      scope.set(name, Value::undefined(fmt::format("parameter '{}' was not provided", name)));
  }
  if (macro.uses_varargs) scope.set("varargs", Value::tuple(std::move(extra)));
  if (macro.uses_kwargs) scope.set("kwargs", Value::dict(std::move(named)));
  if (macro.uses_caller) scope.set("caller", std::move(caller));
}

std::optional<Value> Macro::attribute(std::string_view name) const {
  if (name == "name") return Value::string(definition_.name);
  if (name == "caller") return Value::boolean(definition_.uses_caller);
  if (name == "catch_varargs") return Value::boolean(definition_.uses_varargs);
  if (name == "catch_kwargs") return Value::boolean(definition_.uses_kwargs);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const std::string& parameter : definition_.parameters) names.push_back(Value::string(parameter));
  return Value::tuple(std::move(names));
}

Value Macro::call(Rendering&, const Arguments& arguments) {
  return Value::string(evaluator_.call_macro(definition_, &scope_, arguments));
}

std::optional<Value> LoopState::attribute(std::string_view name) const {
  const size_t size = items_.size();
  if (name == "index") return whole(at_ + 1);
  if (name == "index0") return whole(at_);
  if (name == "revindex") return whole(size - std::min(at_, size));
  if (name == "revindex0") return Value::integer(static_cast<int64_t>(size) - static_cast<int64_t>(at_) - 1);
  if (name == "first") return Value::boolean(at_ == 0);
  if (name == "last") return Value::boolean(at_ + 1 == size);
  if (name == "length") return whole(size);
  if (name == "depth") return Value::integer(depth_);
  if (name == "depth0") return Value::integer(depth_ - 1);
  if (name == "previtem")
    return at_ > 0 && at_ <= size ? items_[at_ - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return at_ + 1 < size ? items_[at_ + 1] : Value::undefined("there is no next item");
  if (name != "cycle" && name != "changed") return std::nullopt;
  // Only a loop that is not const can be reached by a template.
  auto self = std::const_pointer_cast<LoopState>(shared_from_this());
  return Value::object(std::make_shared<LoopMethod>(std::move(self), name == "cycle"));
}

Value LoopState::call(Rendering& rendering, const Arguments& arguments) {
  if (!is_callable()) throw OperationError("loop can only be called inside of a loop that is recursive");
  const Parameters given("loop", arguments, {"iterable"});
  rendering.charge(1);
  return Value::string(evaluator_.run_loop(*loop_, given.at(0).items(), scope_, depth_ + 1));
}

void LoopState::clear() {
  items_.clear();
  last_changed_.reset();
  loop_ = nullptr;
}

Value LoopState::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty()) throw OperationError("no items for cycling given");
  return arguments.positional[at_ % arguments.positional.size()];
}

Value LoopState::changed(const Arguments& arguments) {
  if (loop_ == nullptr) throw OperationError("the loop is over");
  if (last_changed_ && *last_changed_ == arguments.positional) return Value::boolean(false);
  last_changed_ = arguments.positional;
  return Value::boolean(true);
}

}  // namespace batchmax::coordinator::jinja
