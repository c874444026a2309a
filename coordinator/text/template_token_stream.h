// What both halves of the parser share: the tokens, where it stands, how deep it is. One thread.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/template_lexer.h"

namespace batchmax::coordinator::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  int line() const { return current().line; }
  Token next();
  bool is(Token::Kind kind) const { return current().kind == kind; }
  bool is_operator(std::string_view spelled) const;
  bool is_name(std::string_view spelled) const;
  // Moves behind the token where it is this one.
  bool skip_operator(std::string_view spelled);
  bool skip_name(std::string_view spelled);
  bool skip(Token::Kind kind);
  // The same, or a TemplateError that says what was found.
  void expect_operator(std::string_view spelled);
  void expect_name(std::string_view spelled);
  void expect(Token::Kind kind, std::string_view what);
  std::string expect_identifier();

  [[noreturn]] void fail(const std::string& reason) const;
  [[noreturn]] void fail_expected(std::string_view what) const;

  // Variables read since this set was last emptied: macros ask whether caller and its like are among them.
  std::set<std::string>& names_seen() { return names_seen_; }

  // One level of nesting in the tree, for as long as it lives; the parser and the evaluator recurse.
  class Level {
   public:
    explicit Level(TokenStream& stream);
    ~Level() { --stream_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TokenStream& stream_;
  };

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  std::set<std::string> names_seen_;
};

}  // namespace batchmax::coordinator::jinja
