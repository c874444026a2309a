// Expressions of a chat template, with the precedence of Jinja. Throws TemplateError.
#pragma once

#include "coordinator/text/template_token_stream.h"
#include "coordinator/text/template_tree.h"

namespace batchmax::coordinator::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExpressionPtr expression();                // one, with `x if y else z`
  ExpressionPtr expression_without_if();     // what stands behind `in` of a for loop, where if is a filter
  ExpressionPtr tuple(bool with_if = true);  // one expression, or several with commas between them
  // What follows a value: | filters and `is` tests.
  ExpressionPtr filters_and_tests(ExpressionPtr value);
  // name | name(...) ... on a value that the evaluator supplies; stands at the first name.
  ExpressionPtr filter_chain();
  CallArguments call_arguments();  // stands at (

 private:
  using Part = ExpressionPtr (ExpressionParser::*)();
  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr name();
  ExpressionPtr number();
  ExpressionPtr brackets();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr attribute(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr value);
  ExpressionPtr filter(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);
  ExpressionPtr binary(Part part, std::initializer_list<std::pair<std::string_view, Binary::Operator>> ops,
                       bool are_names);

  TokenStream& tokens_;
};

}  // namespace batchmax::coordinator::jinja
