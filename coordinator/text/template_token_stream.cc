#include "coordinator/text/template_token_stream.h"

#include <fmt/format.h>

#include "coordinator/text/template_error.h"

namespace batchmax::coordinator::jinja {
namespace {

// A level of brackets passes through some ten functions of the parser.
constexpr int kMaxNestedSyntax = 100;

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kText:
    case Token::Kind::kOutputBegin:
    case Token::Kind::kBlockBegin:
      return "text";
    case Token::Kind::kOutputEnd:
      return "}}";
    case Token::Kind::kBlockEnd:
      return "%}";
    case Token::Kind::kString:
      return "a string";
    case Token::Kind::kEnd:
      return "the end of the template";
    default:
      return token.text;
  }
}

}  // namespace

TokenStream::Level::Level(TokenStream& stream) : stream_(stream) {
  if (stream_.depth_ >= kMaxNestedSyntax) stream_.fail(fmt::format("nests deeper than {}", kMaxNestedSyntax));
  ++stream_.depth_;
}

Token TokenStream::next() {
  const Token& token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenStream::is_operator(std::string_view spelled) const {
  return is(Token::Kind::kOperator) && current().text == spelled;
}
bool TokenStream::is_name(std::string_view spelled) const {
  return is(Token::Kind::kName) && current().text == spelled;
}

bool TokenStream::skip_operator(std::string_view spelled) {
  if (!is_operator(spelled)) return false;
  next();
  return true;
}
bool TokenStream::skip_name(std::string_view spelled) {
  if (!is_name(spelled)) return false;
  next();
  return true;
}
bool TokenStream::skip(Token::Kind kind) {
  if (!is(kind)) return false;
  next();
  return true;
}

void TokenStream::expect_operator(std::string_view spelled) {
  if (!skip_operator(spelled)) fail_expected(spelled);
}
void TokenStream::expect_name(std::string_view spelled) {
  if (!skip_name(spelled)) fail_expected(spelled);
}
void TokenStream::expect(Token::Kind kind, std::string_view what) {
  if (!skip(kind)) fail_expected(what);
}
std::string TokenStream::expect_identifier() {
  if (!is(Token::Kind::kName)) fail_expected("a name");
  return next().text;
}

void TokenStream::fail(const std::string& reason) const { throw TemplateError(line(), reason); }
void TokenStream::fail_expected(std::string_view what) const {
  fail(fmt::format("expected {}, found {}", what, describe(current())));
}

}  // namespace batchmax::coordinator::jinja
