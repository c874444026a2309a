// The objects that templates make by their statements: macros and the variable `loop`. They refer to the
// evaluator and live no longer than its rendering.
#pragma once

#include "coordinator/text/template_evaluator.h"
#include "coordinator/text/template_methods.h"

namespace batchmax::coordinator::jinja {

class Macro : public Function {
 public:
  Macro(Evaluator& evaluator, const MacroDefinition& definition, Scope& scope)
      : evaluator_(evaluator), definition_(definition), scope_(scope) {}
  std::string type_name() const override { return "Macro"; }
  std::optional<Value> attribute(std::string_view name) const override;
  Value call(Rendering& rendering, const Arguments& arguments) override;

 private:
  Evaluator& evaluator_;
  const MacroDefinition& definition_;
  Scope& scope_;  // kept
};

// Sets the parameters that have arguments, those without a default that have none (undefined), and varargs,
// kwargs, caller where the macro uses them. Throws OperationError where arguments do not fit.
void bind_parameters(const MacroDefinition& macro, const Arguments& arguments, Scope& scope);

class LoopState : public Function, public std::enable_shared_from_this<LoopState> {
 public:
  LoopState(Evaluator& evaluator, const For& loop, Scope& scope, std::vector<Value> items, int depth)
      : evaluator_(evaluator), loop_(&loop), scope_(scope), items_(std::move(items)), depth_(depth) {}

  bool more() const { return at_ < items_.size(); }
  void advance() { ++at_; }
  const Value& current() const { return items_[at_]; }

  std::string type_name() const override { return "LoopContext"; }
  bool is_callable() const override { return loop_ != nullptr && loop_->recursive; }
  std::optional<Value> attribute(std::string_view name) const override;
  // loop(items) inside a recursive loop: the same body over these.
  Value call(Rendering& rendering, const Arguments& arguments) override;
  // The end of the loop.
  void clear() override;

  Value cycle(const Arguments& arguments) const;
  Value changed(const Arguments& arguments);

 private:
  Evaluator& evaluator_;
  const For* loop_;
  Scope& scope_;
  std::vector<Value> items_;
  size_t at_ = 0;
  int depth_;
  std::optional<std::vector<Value>> last_changed_;
};

}  // namespace batchmax::coordinator::jinja
