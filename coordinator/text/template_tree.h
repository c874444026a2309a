// The syntax tree of a chat template. Immutable once parsed; shared by all renderings.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/text/template_filters.h"
#include "coordinator/text/template_tests.h"
#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr more_positional;  // *x; may be null
  ExpressionPtr more_named;       // **x; may be null
};

struct Literal {
  Value value;
};
struct Variable {
  std::string name;
};
struct ListDisplay {
  std::vector<ExpressionPtr> items;
  bool is_tuple;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Item {
  ExpressionPtr object, index;
};
struct Slice {
  ExpressionPtr object, start, stop, step;  // all but object may be null
};
struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};
struct FilterUse {
  ExpressionPtr value;  // null: the text of the block that is filtered
  Filter filter;
  CallArguments arguments;
};
struct TestUse {
  ExpressionPtr value;
  Test test;
  CallArguments arguments;
};
struct Unary {
  enum class Operator { kNot, kMinus, kPlus } op;
  ExpressionPtr operand;
};
struct Binary {
  enum class Operator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower, kAnd, kOr } op;
  ExpressionPtr left, right;
};
// first op1 a op2 b ...: true where every pair of neighbours compares so.
struct Comparison {
  enum class Operator { kEqual, kUnequal, kLess, kLessOrEqual, kGreater, kGreaterOrEqual, kIn, kNotIn };
  ExpressionPtr first;
  std::vector<std::pair<Operator, ExpressionPtr>> rest;
};
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};
struct Conditional {
  ExpressionPtr condition, then, otherwise;  // otherwise may be null: undefined
};

struct Expression {
  using Form = std::variant<Literal, Variable, ListDisplay, DictDisplay, Attribute, Item, Slice, Call,
                            FilterUse, TestUse, Unary, Binary, Comparison, Concatenation, Conditional>;
  int line;
  Form form;
};

struct Statement;
using Body = std::vector<Statement>;

// What a for loop or a set assigns to.
struct Target {
  std::vector<std::string> names;
  bool unpacks = false;   // a, b: even where there is one name
  std::string attribute;  // of a namespace: names[0].attribute
};

struct Text {
  std::string text;
};
struct Output {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};
struct For {
  Target target;
  ExpressionPtr items, filter;  // filter may be null
  bool recursive;
  Body body, otherwise;
};
struct Assignment {
  Target target;
  ExpressionPtr value;
};
// {% set name | filters %}...{% endset %}, {% filter filters %}...{% endfilter %}
struct Capture {
  std::optional<Target> target;  // none: the text is put out
  ExpressionPtr filters;         // may be null
  Body body;
};
struct MacroDefinition {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  Body body;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};
struct MacroStatement {
  MacroDefinition macro;
};
struct CallBlock {
  ExpressionPtr call;
  MacroDefinition caller;
};
// {% with a = 1 %}...{% endwith %}; {% generation %}: no variables.
struct Scoped {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  using Form = std::variant<Text, Output, If, For, Assignment, Capture, MacroStatement, CallBlock, Scoped,
                            Break, Continue>;
  int line;
  Form form;
};

}  // namespace batchmax::coordinator::jinja
