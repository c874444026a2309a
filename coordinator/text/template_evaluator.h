// Runs the tree of a chat template. One rendering, one thread; refers to the tree and to the rendering.
#pragma once

#include <string>

#include "coordinator/text/template_rendering.h"
#include "coordinator/text/template_scope.h"
#include "coordinator/text/template_tree.h"

namespace batchmax::coordinator::jinja {

class Evaluator {
 public:
  explicit Evaluator(Rendering& rendering) : rendering_(rendering) {}

  // The text that the body puts out. Throws TemplateError.
  std::string run(const Body& body, Scope& scope);

  // For macros and recursive loops: they capture text, too.
  std::string call_macro(const MacroDefinition& macro, Scope* scope, const Arguments& arguments);
  std::string run_loop(const For& loop, const std::vector<Value>& items, Scope& scope, int depth);
  ScopePool& scopes() { return scopes_; }

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Value evaluate(const Expression& expression, Scope& scope);
  Value evaluate_or_none(const ExpressionPtr& expression, Scope& scope);
  Value form(const Literal& literal, Scope& scope);
  Value form(const Variable& variable, Scope& scope);
  Value form(const ListDisplay& display, Scope& scope);
  Value form(const DictDisplay& display, Scope& scope);
  Value form(const Attribute& attribute, Scope& scope);
  Value form(const Item& item, Scope& scope);
  Value form(const Slice& slice, Scope& scope);
  Value form(const Call& call, Scope& scope);
  Value form(const FilterUse& use, Scope& scope);
  Value form(const TestUse& use, Scope& scope);
  Value form(const Unary& unary, Scope& scope);
  Value form(const Binary& binary, Scope& scope);
  Value form(const Comparison& comparison, Scope& scope);
  Value form(const Concatenation& whole, Scope& scope);
  Value form(const Conditional& conditional, Scope& scope);
  Arguments arguments(const CallArguments& given, Scope& scope);

  Flow execute(const Body& body, Scope& scope);
  Flow execute(const Statement& statement, Scope& scope);
  Flow form(const Text& text, Scope& scope);
  Flow form(const Output& output, Scope& scope);
  Flow form(const If& conditional, Scope& scope);
  Flow form(const For& loop, Scope& scope);
  Flow form(const Assignment& assignment, Scope& scope);
  Flow form(const Capture& capture, Scope& scope);
  Flow form(const MacroStatement& statement, Scope& scope);
  Flow form(const CallBlock& block, Scope& scope);
  Flow form(const Scoped& scoped, Scope& scope);
  Flow form(const Break& leave, Scope& scope);
  Flow form(const Continue& leave, Scope& scope);

  Flow loop_over(const For& loop, std::vector<Value> items, Scope& scope, int depth);
  std::vector<Value> filtered(const For& loop, std::vector<Value> items, Scope& scope);
  void assign(const Target& target, const Value& value, Scope& scope);
  void put(std::string_view text);
  // What `act` puts out.
  template <typename Act>
  std::string captured(Act act);

  Rendering& rendering_;
  ScopePool scopes_;
  std::string* out_ = nullptr;
  const Value* filtered_text_ = nullptr;  // inside a filter block: its text
};

}  // namespace batchmax::coordinator::jinja
