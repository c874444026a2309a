#include "coordinator/text/template_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <set>
#include <utility>

#include "coordinator/text/template_error.h"
#include "coordinator/text/template_expression_parser.h"
#include "coordinator/text/template_token_stream.h"

namespace batchmax::coordinator::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize_template(source)), expressions_(tokens_) {}

  Body run() {
    Body body = statements({});
    if (!tokens_.is(Token::Kind::kEnd)) tokens_.fail(fmt::format("{} ends nothing", tokens_.current().text));
    return body;
  }

 private:
  // Up to a block whose first word is one of `ends`; stands at that word then.
  Body statements(Names ends) {
    const TokenStream::Level level(tokens_);
    Body body;
    while (!tokens_.is(Token::Kind::kEnd)) {
      const int line = tokens_.line();
      if (tokens_.is(Token::Kind::kText)) {
        body.push_back({line, Text{tokens_.next().text}});
      } else if (tokens_.skip(Token::Kind::kOutputBegin)) {
        body.push_back({line, Output{expressions_.tuple()}});
        tokens_.expect(Token::Kind::kOutputEnd, "}}");
      } else {
        tokens_.expect(Token::Kind::kBlockBegin, "a block");
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return tokens_.is_name(end); }))
          return body;
        body.push_back(block());
      }
    }
    if (ends.size() > 0) tokens_.fail_expected(*(ends.end() - 1));
    return body;
  }

  // The body of a block up to its end, behind which it stands then.
  Body body(std::string_view end) {
    tokens_.expect(Token::Kind::kBlockEnd, "%}");
    Body inner = statements({end});
    finish(end);
    return inner;
  }
  void finish(std::string_view end) {
    tokens_.expect_name(end);
    tokens_.expect(Token::Kind::kBlockEnd, "%}");
  }

  Statement block() {
    const int line = tokens_.line();
    const std::string name = tokens_.expect_identifier();
    if (name == "if") return {line, conditional()};
    if (name == "for") return {line, loop()};
    if (name == "set") return set(line);
    if (name == "macro") return {line, macro()};
    if (name == "call") return {line, call_block()};
    if (name == "filter") {
      ExpressionPtr filters = expressions_.filter_chain();
      return {line, Capture{std::nullopt, std::move(filters), body("endfilter")}};
    }
    if (name == "with") return {line, with()};
    if (name == "generation") return {line, Scoped{{}, body("endgeneration")}};
    if (name == "break" || name == "continue") return {line, leave(name)};
    for (const std::string_view other : {"extends", "block", "include", "import", "from", "autoescape", "do"})
      if (name == other) tokens_.fail(fmt::format("the block {} is not supported", name));
    tokens_.fail(fmt::format("there is no block named {}", name));
  }

  If conditional() {
    If whole;
    for (;;) {
      ExpressionPtr condition = expressions_.tuple(false);
      tokens_.expect(Token::Kind::kBlockEnd, "%}");
      Body then = statements({"elif", "else", "endif"});
      whole.branches.emplace_back(std::move(condition), std::move(then));
      if (tokens_.skip_name("elif")) continue;
      if (tokens_.skip_name("else")) {
        whole.otherwise = body("endif");
      } else {
        finish("endif");
      }
      return whole;
    }
  }

  For loop() {
    For whole;
    whole.target = target(false);
    tokens_.expect_name("in");
    whole.items = expressions_.tuple(false);
    if (tokens_.skip_name("if")) whole.filter = expressions_.expression_without_if();
    whole.recursive = tokens_.skip_name("recursive");
    tokens_.expect(Token::Kind::kBlockEnd, "%}");
    ++loops_;
    whole.body = statements({"else", "endfor"});
    --loops_;
    if (tokens_.skip_name("else")) {
      whole.otherwise = body("endfor");
    } else {
      finish("endfor");
    }
    return whole;
  }

  Statement::Form leave(const std::string& name) {
    if (loops_ == 0) tokens_.fail(fmt::format("{} outside of a loop", name));
    tokens_.expect(Token::Kind::kBlockEnd, "%}");
    if (name == "break") return Break{};
    return Continue{};
  }

  Target target(bool may_be_attribute) {
    Target whole;
    const bool bracket = tokens_.skip_operator("(");
    do {
      if (whole.unpacks && !tokens_.is(Token::Kind::kName)) break;
      const int line = tokens_.line();
      whole.names.push_back(tokens_.expect_identifier());
      const std::string& name = whole.names.back();
      for (const std::string_view taken : {"true", "false", "none", "True", "False", "None"})
        if (name == taken) throw_at(line, fmt::format("{} cannot be assigned to", name));
      if (may_be_attribute && whole.names.size() == 1 && tokens_.skip_operator(".")) {
        whole.attribute = tokens_.expect_identifier();
        return whole;
      }
      if (tokens_.is_operator(",")) whole.unpacks = true;
    } while (tokens_.skip_operator(","));
    if (bracket) tokens_.expect_operator(")");
    return whole;
  }
  [[noreturn]] static void throw_at(int line, const std::string& reason) {
    throw TemplateError(line, reason);
  }

  Statement set(int line) {
    Target to = target(true);
    if (tokens_.skip_operator("=")) {
      Assignment assignment{std::move(to), expressions_.tuple()};
      tokens_.expect(Token::Kind::kBlockEnd, "%}");
      return {line, std::move(assignment)};
    }
    ExpressionPtr filters;
    if (tokens_.skip_operator("|")) filters = expressions_.filter_chain();
    return {line, Capture{std::move(to), std::move(filters), body("endset")}};
  }

  // The parameters behind ( up to ).
  void parameters(MacroDefinition& macro) {
    while (!tokens_.skip_operator(")")) {
      if (!macro.parameters.empty()) {
        tokens_.expect_operator(",");
        if (tokens_.skip_operator(")")) break;
      }
      macro.parameters.push_back(tokens_.expect_identifier());
      if (tokens_.skip_operator("=")) {
        macro.defaults.push_back(expressions_.expression());
      } else if (!macro.defaults.empty()) {
        tokens_.fail("a parameter without a default stands behind one with it");
      }
    }
  }

  // The body, and which of the names that Jinja supplies to macros it uses.
  void macro_body(MacroDefinition& macro, std::string_view end) {
    std::set<std::string> outer;
    outer.swap(tokens_.names_seen());
    const int loops = std::exchange(loops_, 0);
    macro.body = body(end);
    loops_ = loops;
    const auto& seen = tokens_.names_seen();
    const auto free = [&](const char* name) {
      return seen.count(name) > 0 &&
             std::find(macro.parameters.begin(), macro.parameters.end(), name) == macro.parameters.end();
    };
    macro.uses_varargs = free("varargs");
    macro.uses_kwargs = free("kwargs");
    macro.uses_caller = free("caller");
    tokens_.names_seen().insert(outer.begin(), outer.end());
  }

  MacroStatement macro() {
    MacroStatement statement;
    statement.macro.name = tokens_.expect_identifier();
    tokens_.expect_operator("(");
    parameters(statement.macro);
    macro_body(statement.macro, "endmacro");
    return statement;
  }

  CallBlock call_block() {
    CallBlock whole;
    whole.caller.name = "caller";
    if (tokens_.skip_operator("(")) parameters(whole.caller);
    whole.call = expressions_.expression();
    if (!std::holds_alternative<Call>(whole.call->form))
      tokens_.fail("call needs a macro with its arguments");
    macro_body(whole.caller, "endcall");
    return whole;
  }

  Scoped with() {
    Scoped whole;
    while (!tokens_.is(Token::Kind::kBlockEnd)) {
      if (!whole.variables.empty()) tokens_.expect_operator(",");
      Target to = target(false);
      tokens_.expect_operator("=");
      whole.variables.emplace_back(std::move(to), expressions_.expression());
    }
    whole.body = body("endwith");
    return whole;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace batchmax::coordinator::jinja
