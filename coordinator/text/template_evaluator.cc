// Statements; expressions are in template_expressions.cc.
#include "coordinator/text/template_evaluator.h"

#include <fmt/format.h>

#include "coordinator/text/template_callables.h"
#include "coordinator/text/template_error.h"
#include "coordinator/text/template_operators.h"

namespace batchmax::coordinator::jinja {

template <typename Act>
std::string Evaluator::captured(Act act) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  // No way back after an error: the rendering is over.
  act();
  out_ = outer;
  return text;
}

std::string Evaluator::run(const Body& body, Scope& scope) {
  return captured([&] { execute(body, scope); });
}

Evaluator::Flow Evaluator::execute(const Body& body, Scope& scope) {
  for (const Statement& statement : body) {
    const Flow flow = execute(statement, scope);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::execute(const Statement& statement, Scope& scope) try {
  const Depth depth(rendering_);
  return std::visit([&](const auto& what) { return form(what, scope); }, statement.form);
} catch (const OperationError& error) {
  throw TemplateError(statement.line, error.what());
}

void Evaluator::put(std::string_view text) {
  if (out_->size() + text.size() > kMaxTextBytes) rendering_.charge_text(out_->size() + text.size());
  rendering_.charge_text(text.size());
  *out_ += text;
}

Evaluator::Flow Evaluator::form(const Text& text, Scope&) {
  put(text.text);
  return Flow::kNext;
}

Evaluator::Flow Evaluator::form(const Output& output, Scope& scope) {
  const Value value = evaluate(*output.value, scope);
  if (value.is_string()) {
    put(value.as_string());
  } else {
    rendering_.charge_text(value.weight());
    put(value.text());
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::form(const If& conditional, Scope& scope) {
  for (const auto& [condition, then] : conditional.branches)
    if (evaluate(*condition, scope).truth()) return execute(then, scope);
  return execute(conditional.otherwise, scope);
}

std::vector<Value> Evaluator::filtered(const For& loop, std::vector<Value> items, Scope& scope) {
  if (!loop.filter) return items;
  std::vector<Value> kept;
  const ScopePool::Use inner(scopes_, &scope);
  for (Value& item : items) {
    assign(loop.target, item, *inner);
    if (evaluate(*loop.filter, *inner).truth()) kept.push_back(std::move(item));
  }
  return kept;
}

Evaluator::Flow Evaluator::form(const For& loop, Scope& scope) {
  const Value value = evaluate(*loop.items, scope);
  rendering_.charge(value.is_string() ? value.as_string().size() : 0);
  return loop_over(loop, value.items(), scope, 1);
}

Evaluator::Flow Evaluator::loop_over(const For& loop, std::vector<Value> items, Scope& scope, int depth) {
  rendering_.charge(items.size());
  items = filtered(loop, std::move(items), scope);
  bool ended_a_round = false;
  if (!items.empty()) {
    const auto state = std::make_shared<LoopState>(*this, loop, scope, std::move(items), depth);
    // Even when an error ends the loop: the items could refer to it in a circle.
    const std::shared_ptr<void> end(nullptr, [&state](void*) { state->clear(); });
    for (; state->more(); state->advance()) {
      const ScopePool::Use inner(scopes_, &scope);
      inner->set("loop", Value::object(state));
      assign(loop.target, state->current(), *inner);
      const Flow flow = execute(loop.body, *inner);
      if (flow == Flow::kBreak) break;
      ended_a_round |= flow == Flow::kNext;
    }
  }
  // Jinja takes a loop whose every round was left by break or continue for one that had none.
  if (ended_a_round) return Flow::kNext;
  const ScopePool::Use inner(scopes_, &scope);
  return execute(loop.otherwise, *inner);
}

std::string Evaluator::run_loop(const For& loop, const std::vector<Value>& items, Scope& scope, int depth) {
  const Depth level(rendering_);
  return captured([&] { loop_over(loop, items, scope, depth); });
}

void Evaluator::assign(const Target& target, const Value& value, Scope& scope) {
  if (!target.attribute.empty()) {
    const Value* object = scope.find(target.names[0]);
    auto* space =
        object != nullptr && object->is_object() ? dynamic_cast<Namespace*>(&object->as_object()) : nullptr;
    if (space == nullptr) throw OperationError("cannot assign attribute on non-namespace object");
    return space->set(target.attribute, value);
  }
  if (!target.unpacks) return scope.set(target.names[0], value);
  const std::vector<Value> items = value.items();
  if (items.size() != target.names.size())
    throw OperationError(
        fmt::format("expected {} values to unpack, got {}", target.names.size(), items.size()));
  for (size_t i = 0; i < items.size(); ++i) scope.set(target.names[i], items[i]);
}

Evaluator::Flow Evaluator::form(const Assignment& assignment, Scope& scope) {
  assign(assignment.target, evaluate(*assignment.value, scope), scope);
  return Flow::kNext;
}

Evaluator::Flow Evaluator::form(const Capture& capture, Scope& scope) {
  Value text = Value::string(captured([&] {
    const ScopePool::Use inner(scopes_, &scope);
    execute(capture.body, *inner);
  }));
  if (capture.filters) {
    const Value* const outer = std::exchange(filtered_text_, &text);
    Value result = evaluate(*capture.filters, scope);
    filtered_text_ = outer;
    text = std::move(result);
  }
  if (capture.target) {
    assign(*capture.target, text, scope);
  } else {
    put(text.text());
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::form(const MacroStatement& statement, Scope& scope) {
  scope.keep();
  scope.set(statement.macro.name, Value::object(std::make_shared<Macro>(*this, statement.macro, scope)));
  return Flow::kNext;
}

Evaluator::Flow Evaluator::form(const CallBlock& block, Scope& scope) {
  const Call& call = std::get<Call>(block.call->form);
  const Value callee = evaluate(*call.callee, scope);
  Arguments given = arguments(call.arguments, scope);
  scope.keep();
  given.named.emplace_back("caller", Value::object(std::make_shared<Macro>(*this, block.caller, scope)));
  put(call_value(rendering_, callee, given).text());
  return Flow::kNext;
}

Evaluator::Flow Evaluator::form(const Scoped& scoped, Scope& scope) {
  const ScopePool::Use inner(scopes_, &scope);
  for (const auto& [target, value] : scoped.variables) assign(target, evaluate(*value, scope), *inner);
  return execute(scoped.body, *inner);
}

Evaluator::Flow Evaluator::form(const Break&, Scope&) { return Flow::kBreak; }
Evaluator::Flow Evaluator::form(const Continue&, Scope&) { return Flow::kContinue; }

std::string Evaluator::call_macro(const MacroDefinition& macro, Scope* scope, const Arguments& arguments) {
  const Depth depth(rendering_);
  const ScopePool::Use inner(scopes_, scope);
  bind_parameters(macro, arguments, *inner);
  const size_t first_default = macro.parameters.size() - macro.defaults.size();
  for (size_t i = first_default; i < macro.parameters.size(); ++i) {
    const std::string& name = macro.parameters[i];
    if (inner->find_here(name) == nullptr)
      inner->set(name, evaluate(*macro.defaults[i - first_default], *inner));
  }
  return captured([&] { execute(macro.body, *inner); });
}

}  // namespace batchmax::coordinator::jinja
