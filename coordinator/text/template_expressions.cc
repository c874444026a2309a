// The expressions of template_evaluator.h.
#include <fmt/format.h>

#include "coordinator/text/template_error.h"
#include "coordinator/text/template_evaluator.h"
#include "coordinator/text/template_operators.h"

namespace batchmax::coordinator::jinja {

Value Evaluator::evaluate(const Expression& expression, Scope& scope) try {
  const Depth depth(rendering_);
  rendering_.charge(1);
  return std::visit([&](const auto& what) { return form(what, scope); }, expression.form);
} catch (const OperationError& error) {
  throw TemplateError(expression.line, error.what());
}

Value Evaluator::evaluate_or_none(const ExpressionPtr& expression, Scope& scope) {
  return expression ? evaluate(*expression, scope) : Value::none();
}

Value Evaluator::form(const Literal& literal, Scope&) { return literal.value; }

Value Evaluator::form(const Variable& variable, Scope& scope) {
  const Value* value = scope.find(variable.name);
  return value != nullptr ? *value : Value::undefined(fmt::format("'{}' is undefined", variable.name));
}

Value Evaluator::form(const ListDisplay& display, Scope& scope) {
  std::vector<Value> items;
  for (const auto& item : display.items) items.push_back(evaluate(*item, scope));
  return display.is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value Evaluator::form(const DictDisplay& display, Scope& scope) {
  Dict dict;
  for (const auto& [key, value] : display.entries) {
    const Value evaluated_key = evaluate(*key, scope);
    rendering_.charge(evaluated_key.weight() / 32);
    dict.set(evaluated_key, evaluate(*value, scope));
  }
  return Value::dict(std::move(dict));
}

Value Evaluator::form(const Attribute& attribute, Scope& scope) {
  return get_attribute(evaluate(*attribute.object, scope), attribute.name);
}

Value Evaluator::form(const Item& item, Scope& scope) {
  const Value object = evaluate(*item.object, scope);
  return get_item(rendering_, object, evaluate(*item.index, scope));
}

Value Evaluator::form(const Slice& slice, Scope& scope) {
  const Value object = evaluate(*slice.object, scope);
  const Value start = evaluate_or_none(slice.start, scope), stop = evaluate_or_none(slice.stop, scope);
  return get_slice(rendering_, object, start, stop, evaluate_or_none(slice.step, scope));
}

Arguments Evaluator::arguments(const CallArguments& given, Scope& scope) {
  Arguments values;
  for (const auto& argument : given.positional) values.positional.push_back(evaluate(*argument, scope));
  if (given.more_positional) {
    const std::vector<Value> more = evaluate(*given.more_positional, scope).items();
    rendering_.charge(more.size());
    values.positional.insert(values.positional.end(), more.begin(), more.end());
  }
  for (const auto& [name, argument] : given.named)
    values.named.emplace_back(name, evaluate(*argument, scope));
  if (given.more_named) {
    const Value more = evaluate(*given.more_named, scope);
    if (!more.is_dict()) throw OperationError("what stands behind ** must be a mapping");
    for (const auto& [name, value] : more.as_dict().entries()) {
      rendering_.charge(1);
      values.named.emplace_back(name.text(), value);
    }
  }
  return values;
}

Value Evaluator::form(const Call& call, Scope& scope) {
  const Value callee = evaluate(*call.callee, scope);
  return call_value(rendering_, callee, arguments(call.arguments, scope));
}

Value Evaluator::form(const FilterUse& use, Scope& scope) {
  const Value value = use.value ? evaluate(*use.value, scope) : *filtered_text_;
  return use.filter(rendering_, value, arguments(use.arguments, scope));
}

Value Evaluator::form(const TestUse& use, Scope& scope) {
  const Value value = evaluate(*use.value, scope);
  return Value::boolean(use.test(rendering_, value, arguments(use.arguments, scope)));
}

Value Evaluator::form(const Unary& unary, Scope& scope) {
  return unary_operation(unary.op, evaluate(*unary.operand, scope));
}

Value Evaluator::form(const Binary& binary, Scope& scope) {
  Value left = evaluate(*binary.left, scope);
  if (binary.op == Binary::Operator::kAnd) return left.truth() ? evaluate(*binary.right, scope) : left;
  if (binary.op == Binary::Operator::kOr) return left.truth() ? left : evaluate(*binary.right, scope);
  return binary_operation(rendering_, binary.op, left, evaluate(*binary.right, scope));
}

Value Evaluator::form(const Comparison& comparison, Scope& scope) {
  Value left = evaluate(*comparison.first, scope);
  for (const auto& [op, operand] : comparison.rest) {
    Value right = evaluate(*operand, scope);
    if (!compare_values(rendering_, op, left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Evaluator::form(const Concatenation& whole, Scope& scope) {
  std::string text;
  for (const auto& part : whole.parts) {
    const Value value = evaluate(*part, scope);
    rendering_.charge_text(text.size() + value.weight());
    text += value.text();
  }
  return Value::string(std::move(text));
}

Value Evaluator::form(const Conditional& conditional, Scope& scope) {
  if (evaluate(*conditional.condition, scope).truth()) return evaluate(*conditional.then, scope);
  if (conditional.otherwise) return evaluate(*conditional.otherwise, scope);
  return Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
}

}  // namespace batchmax::coordinator::jinja
