#include "coordinator/text/template_expression_parser.h"

#include <fmt/format.h>

#include <charconv>
#include <list>

#include "coordinator/text/template_error.h"
#include "coordinator/text/template_filters.h"
#include "coordinator/text/template_tests.h"

namespace batchmax::coordinator::jinja {
namespace {

template <typename Form>
ExpressionPtr make(int line, Form form) {
  return std::make_unique<const Expression>(Expression{line, std::move(form)});
}

using Levels = std::list<TokenStream::Level>;

}  // namespace

ExpressionPtr ExpressionParser::tuple(bool with_if) {
  const int line = tokens_.line();
  ListDisplay items{{}, true};
  do {
    // A comma may end the tuple.
    if (!items.items.empty() &&
        (tokens_.is(Token::Kind::kOutputEnd) || tokens_.is(Token::Kind::kBlockEnd) ||
         tokens_.is_operator(")") || tokens_.is_operator("=") || tokens_.is_name("in")))
      return make(line, std::move(items));
    items.items.push_back(with_if ? expression() : expression_without_if());
  } while (tokens_.skip_operator(","));
  if (items.items.size() == 1) return std::move(items.items.front());
  return make(line, std::move(items));
}

ExpressionPtr ExpressionParser::expression() {
  const TokenStream::Level level(tokens_);
  ExpressionPtr value = disjunction();
  Levels levels;
  while (tokens_.is_name("if")) {
    const int line = tokens_.next().line;
    levels.emplace_back(tokens_);
    ExpressionPtr condition = disjunction();
    ExpressionPtr otherwise;
    if (tokens_.skip_name("else")) otherwise = expression();
    value = make(line, Conditional{std::move(condition), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExpressionPtr ExpressionParser::expression_without_if() {
  const TokenStream::Level level(tokens_);
  return disjunction();
}

ExpressionPtr ExpressionParser::binary(
    Part part, std::initializer_list<std::pair<std::string_view, Binary::Operator>> ops, bool are_names) {
  ExpressionPtr left = (this->*part)();
  Levels levels;  // each operator is one level deeper in the tree
  for (;;) {
    const int line = tokens_.line();
    const auto* found = ops.begin();
    while (found != ops.end() &&
           !(are_names ? tokens_.is_name(found->first) : tokens_.is_operator(found->first)))
      ++found;
    if (found == ops.end()) return left;
    tokens_.next();
    levels.emplace_back(tokens_);
    ExpressionPtr right = (this->*part)();
    left = make(line, Binary{found->second, std::move(left), std::move(right)});
  }
}

ExpressionPtr ExpressionParser::disjunction() {
  return binary(&ExpressionParser::conjunction, {{"or", Binary::Operator::kOr}}, true);
}
ExpressionPtr ExpressionParser::conjunction() {
  return binary(&ExpressionParser::negation, {{"and", Binary::Operator::kAnd}}, true);
}

ExpressionPtr ExpressionParser::negation() {
  if (!tokens_.is_name("not")) return comparison();
  const TokenStream::Level level(tokens_);
  const int line = tokens_.next().line;
  return make(line, Unary{Unary::Operator::kNot, negation()});
}

ExpressionPtr ExpressionParser::comparison() {
  using Operator = Comparison::Operator;
  constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"==", Operator::kEqual},       {"!=", Operator::kUnequal}, {"<", Operator::kLess},
      {"<=", Operator::kLessOrEqual}, {">", Operator::kGreater},  {">=", Operator::kGreaterOrEqual}};
  const int line = tokens_.line();
  Comparison whole{sum(), {}};
  for (;;) {
    std::optional<Operator> op;
    for (const auto& [spelled, meaning] : kOperators)
      if (tokens_.is_operator(spelled)) op = meaning;
    if (tokens_.is_name("in")) op = Operator::kIn;
    if (tokens_.is_name("not") && tokens_.ahead().kind == Token::Kind::kName &&
        tokens_.ahead().text == "in") {
      tokens_.next();
      op = Operator::kNotIn;
    }
    if (!op) break;
    tokens_.next();
    whole.rest.emplace_back(*op, sum());
  }
  if (whole.rest.empty()) return std::move(whole.first);
  return make(line, std::move(whole));
}

ExpressionPtr ExpressionParser::sum() {
  return binary(&ExpressionParser::concatenation,
                {{"+", Binary::Operator::kAdd}, {"-", Binary::Operator::kSubtract}}, false);
}

ExpressionPtr ExpressionParser::concatenation() {
  const int line = tokens_.line();
  Concatenation whole;
  do {
    whole.parts.push_back(product());
  } while (tokens_.skip_operator("~"));
  if (whole.parts.size() == 1) return std::move(whole.parts.front());
  return make(line, std::move(whole));
}

ExpressionPtr ExpressionParser::product() {
  return binary(&ExpressionParser::power,
                {{"*", Binary::Operator::kMultiply},
                 {"/", Binary::Operator::kDivide},
                 {"//", Binary::Operator::kFloorDivide},
                 {"%", Binary::Operator::kModulo}},
                false);
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary(true);
  Levels levels;
  while (tokens_.is_operator("**")) {  // from left to right, unlike Python
    const int line = tokens_.next().line;
    levels.emplace_back(tokens_);
    ExpressionPtr right = unary(true);
    left = make(line, Binary{Binary::Operator::kPower, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const int line = tokens_.line();
  ExpressionPtr value;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const TokenStream::Level level(tokens_);
    const auto op = tokens_.next().text == "-" ? Unary::Operator::kMinus : Unary::Operator::kPlus;
    value = make(line, Unary{op, unary(false)});
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::primary() {
  const int line = tokens_.line();
  if (tokens_.is(Token::Kind::kName)) return name();
  if (tokens_.is(Token::Kind::kInteger) || tokens_.is(Token::Kind::kReal)) return number();
  if (tokens_.is(Token::Kind::kString)) {
    std::string text;
    while (tokens_.is(Token::Kind::kString)) text += tokens_.next().text;
    return make(line, Literal{Value::string(std::move(text))});
  }
  if (tokens_.is_operator("(")) return brackets();
  if (tokens_.is_operator("[")) return list();
  if (tokens_.is_operator("{")) return dict();
  tokens_.fail_expected("an expression");
}

ExpressionPtr ExpressionParser::name() {
  const Token token = tokens_.next();
  if (token.text == "true" || token.text == "True") return make(token.line, Literal{Value::boolean(true)});
  if (token.text == "false" || token.text == "False") return make(token.line, Literal{Value::boolean(false)});
  if (token.text == "none" || token.text == "None") return make(token.line, Literal{Value::none()});
  tokens_.names_seen().insert(token.text);
  return make(token.line, Variable{token.text});
}

ExpressionPtr ExpressionParser::number() {
  const Token token = tokens_.next();
  const char* end = token.text.data() + token.text.size();
  if (token.kind == Token::Kind::kInteger) {
    int64_t number = 0;
    if (std::from_chars(token.text.data(), end, number).ec == std::errc())
      return make(token.line, Literal{Value::integer(number)});
  } else {
    double number = 0;
    if (std::from_chars(token.text.data(), end, number).ec == std::errc())
      return make(token.line, Literal{Value::real(number)});
  }
  tokens_.fail(fmt::format("the number {} is too large", token.text));
}

ExpressionPtr ExpressionParser::brackets() {
  const int line = tokens_.next().line;
  if (tokens_.skip_operator(")")) return make(line, ListDisplay{{}, true});
  ExpressionPtr value = tuple();
  tokens_.expect_operator(")");
  return value;
}

ExpressionPtr ExpressionParser::list() {
  const int line = tokens_.next().line;
  ListDisplay display{{}, false};
  while (!tokens_.skip_operator("]")) {
    if (!display.items.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("]")) break;
    }
    display.items.push_back(expression());
  }
  return make(line, std::move(display));
}

ExpressionPtr ExpressionParser::dict() {
  const int line = tokens_.next().line;
  DictDisplay display;
  while (!tokens_.skip_operator("}")) {
    if (!display.entries.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("}")) break;
    }
    ExpressionPtr key = expression();
    tokens_.expect_operator(":");
    display.entries.emplace_back(std::move(key), expression());
  }
  return make(line, std::move(display));
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr value) {
  Levels levels;
  for (;;) {
    const int line = tokens_.line();
    if (tokens_.is_operator(".")) {
      levels.emplace_back(tokens_);
      value = attribute(std::move(value));
    } else if (tokens_.is_operator("[")) {
      levels.emplace_back(tokens_);
      value = subscript(std::move(value));
    } else if (tokens_.is_operator("(")) {
      levels.emplace_back(tokens_);
      CallArguments arguments = call_arguments();
      value = make(line, Call{std::move(value), std::move(arguments)});
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::attribute(ExpressionPtr value) {
  const int line = tokens_.next().line;
  if (tokens_.is(Token::Kind::kInteger)) return make(line, Item{std::move(value), number()});
  return make(line, Attribute{std::move(value), tokens_.expect_identifier()});
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr value) {
  const int line = tokens_.next().line;
  ExpressionPtr part[3];
  int colons = 0;
  bool commas = false;
  ListDisplay items{{}, true};
  while (!tokens_.is_operator("]")) {
    if (tokens_.is_operator(":")) {
      if (++colons > 2 || commas) tokens_.fail_expected("]");
      tokens_.next();
    } else if (tokens_.is_operator(",")) {
      if (colons > 0 || !part[0]) tokens_.fail_expected("]");
      tokens_.next();
      commas = true;
      items.items.push_back(std::move(part[0]));
    } else {
      if (part[colons]) tokens_.fail_expected("]");
      part[colons] = expression();
    }
  }
  tokens_.next();
  if (colons > 0)
    return make(line, Slice{std::move(value), std::move(part[0]), std::move(part[1]), std::move(part[2])});
  if (commas) {
    if (part[0]) items.items.push_back(std::move(part[0]));
    part[0] = make(line, std::move(items));
  }
  if (!part[0]) tokens_.fail("expected an item between [ and ]");
  return make(line, Item{std::move(value), std::move(part[0])});
}

CallArguments ExpressionParser::call_arguments() {
  tokens_.expect_operator("(");
  CallArguments arguments;
  for (bool first = true; !tokens_.skip_operator(")"); first = false) {
    if (!first) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator(")")) break;
    }
    const bool named = tokens_.is(Token::Kind::kName) && tokens_.ahead().kind == Token::Kind::kOperator &&
                       tokens_.ahead().text == "=";
    if (tokens_.skip_operator("**")) {
      if (arguments.more_named) tokens_.fail("a second ** among the arguments");
      arguments.more_named = expression();
    } else if (tokens_.skip_operator("*")) {
      if (arguments.more_positional) tokens_.fail("a second * among the arguments");
      arguments.more_positional = expression();
    } else if (named) {
      std::string key = tokens_.next().text;
      tokens_.next();
      arguments.named.emplace_back(std::move(key), expression());
    } else {
      if (!arguments.named.empty() || arguments.more_named)
        tokens_.fail("an argument without a name stands behind one with a name");
      arguments.positional.push_back(expression());
    }
  }
  return arguments;
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr value) {
  Levels levels;
  for (;;) {
    levels.emplace_back(tokens_);
    const int line = tokens_.line();
    if (tokens_.skip_operator("|")) {
      value = filter(std::move(value));
    } else if (tokens_.skip_name("is")) {
      value = test(std::move(value));
    } else if (tokens_.is_operator("(")) {  // calls what a filter gave
      CallArguments arguments = call_arguments();
      value = make(line, Call{std::move(value), std::move(arguments)});
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr value) {
  const int line = tokens_.line();
  const std::string name = tokens_.expect_identifier();
  const Filter function = find_filter(name);
  if (function == nullptr) throw TemplateError(line, fmt::format("there is no filter named {}", name));
  CallArguments arguments;
  if (tokens_.is_operator("(")) arguments = call_arguments();
  return make(line, FilterUse{std::move(value), function, std::move(arguments)});
}

ExpressionPtr ExpressionParser::filter_chain() {
  ExpressionPtr value;
  Levels levels;
  do {
    levels.emplace_back(tokens_);
    value = filter(std::move(value));
  } while (tokens_.skip_operator("|"));
  return value;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const bool negated = tokens_.skip_name("not");
  const int line = tokens_.line();
  const std::string name = tokens_.expect_identifier();
  const Test function = find_test(name);
  if (function == nullptr) throw TemplateError(line, fmt::format("there is no test named {}", name));
  CallArguments arguments;
  const bool begins_value = tokens_.is(Token::Kind::kName) || tokens_.is(Token::Kind::kString) ||
                            tokens_.is(Token::Kind::kInteger) || tokens_.is(Token::Kind::kReal) ||
                            tokens_.is_operator("[") || tokens_.is_operator("{");
  if (tokens_.is_operator("(")) {
    arguments = call_arguments();
  } else if (begins_value && !tokens_.is_name("else") && !tokens_.is_name("or") && !tokens_.is_name("and")) {
    if (tokens_.is_name("is")) tokens_.fail("tests with is cannot be chained");
    arguments.positional.push_back(postfix(primary()));
  }
  ExpressionPtr use = make(line, TestUse{std::move(value), function, std::move(arguments)});
  if (!negated) return use;
  return make(line, Unary{Unary::Operator::kNot, std::move(use)});
}

}  // namespace batchmax::coordinator::jinja
