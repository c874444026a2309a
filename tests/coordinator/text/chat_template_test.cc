#include "coordinator/text/chat_template.h"

#include <gtest/gtest.h>

#include <boost/json/value.hpp>
#include <ctime>
#include <fstream>
#include <random>

#include "coordinator/text/json_file.h"
#include "coordinator/text/template_error.h"
#include "tests/support/temporary_folder.h"

namespace batchmax::coordinator {
namespace {

const std::string kFolder = std::string(BATCHMAX_SOURCE_DIR) + "/tests/coordinator/text";

// The time that make_template_cases.py tells.
std::chrono::system_clock::time_point told_time() {
  std::tm local{};
  local.tm_year = 126;
  local.tm_mon = 6;
  local.tm_mday = 4;
  local.tm_hour = 9;
  local.tm_min = 5;
  local.tm_sec = 3;
  local.tm_isdst = -1;
  return std::chrono::system_clock::from_time_t(std::mktime(&local));
}

std::string text_of(const boost::json::value& value) {
  return std::string(value.as_string().data(), value.as_string().size());
}

std::string render(const std::string& source, const boost::json::object& variables = {}) {
  return ChatTemplate::parse(source, "<s>", "</s>").render(variables, told_time());
}

// What rendering fails with; empty where it does not.
std::string error_of(const std::string& source) {
  try {
    render(source);
  } catch (const TemplateError& error) {
    return error.what();
  }
  return {};
}

TEST(ChatTemplateGolden, RendersAndFailsAsJinja) {
  const std::string path = kFolder + "/template_cases.json";
  const boost::json::value cases = parse_json(read_file(path), path);
  ASSERT_GT(cases.as_array().size(), 200u);
  for (const auto& row : cases.as_array()) {
    const boost::json::object& one = row.as_object();
    std::string source = text_of(one.at("template"));
    if (source.ends_with(".jinja")) source = read_file(kFolder + "/templates/" + source);
    SCOPED_TRACE(text_of(one.at("name")) + ": " + source.substr(0, 300));
    std::string text, error;
    try {
      text = render(source, one.at("variables").as_object());
    } catch (const TemplateError& reason) {
      error = reason.what();
    }
    if (const auto* expected = one.if_contains("text")) {
      EXPECT_EQ(error, "");
      EXPECT_EQ(text, text_of(*expected));
    } else {
      EXPECT_NE(error, "") << "Jinja says " << one.at("error") << "; rendered: " << text;
    }
  }
}

TEST(ChatTemplateError, NamesLineAndReason) {
  EXPECT_EQ(error_of("a\n{{ raise_exception('no ' ~ 1) }}"), "chat template line 2: no 1");
  EXPECT_EQ(error_of("{{ x.y }}"), "chat template line 1: 'x' is undefined");
  EXPECT_EQ(error_of("\n\n{{ {}.y.z }}"), "chat template line 3: 'dict object' has no attribute 'y'");
  EXPECT_EQ(error_of("{% if a %}\n{{ 1 +\n }}"), "chat template line 3: expected an expression, found }}");
  EXPECT_EQ(error_of("{% if a %}\n\n"),
            "chat template line 2: expected endif, found the end of the template");
  EXPECT_EQ(error_of("\n{% include 'x' %}"), "chat template line 2: the block include is not supported");
  EXPECT_EQ(error_of("{{ 'a'|shout }}"), "chat template line 1: there is no filter named shout");
  // The line of the part that fails, inside of a macro, too.
  EXPECT_EQ(error_of("{% macro m(x) %}\n{{ x + 1 }}\n{% endmacro %}\n{{ m('a') }}"),
            "chat template line 2: can only concatenate str (not \"int\") to str");
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(ChatTemplateLimit, Depth) {
  EXPECT_EQ(error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
            "chat template line 1: nests deeper than 500");
  for (const char* open : {"(", "[", "{1:", "not ", "-", "1 + (", "x[", "x(", "f(a="}) {
    EXPECT_NE(error_of("{{ " + repeated(open, 100'000)), "") << open;
  }
  for (const char* link : {" + 1", "|upper", ".a", "[1]", " is odd is odd", " if 1", " and 1", "()"}) {
    EXPECT_NE(error_of("{{ x" + repeated(link, 100'000) + " }}"), "") << link;
  }
  for (const char* block :
       {"{% if x %}", "{% for x in y %}", "{% macro m() %}", "{% set x %}", "{% with %}"}) {
    EXPECT_NE(error_of(repeated(block, 100'000)), "") << block;
  }
  // What is long but not deep is fine.
  EXPECT_EQ(render("{{ 1" + repeated(" ~ 1", 1000) + " }}").size(), 1001u);
  EXPECT_EQ(render("{% if x %}" + repeated("{% elif x %}", 10'000) + "{% else %}a{% endif %}"), "a");
}

TEST(ChatTemplateLimit, NestedValues) {
  const std::string nest = "{% set n = namespace(x=[]) %}{% for i in range(1000) %}{% set n.x = ";
  EXPECT_NE(error_of(nest + "[n.x] %}{% endfor %}{{ n.x }}").find("lists and dicts nest deeper"),
            std::string::npos);
  EXPECT_NE(error_of(nest + "{'a': n.x} %}{% endfor %}").find("lists and dicts nest deeper"),
            std::string::npos);
  EXPECT_NE(error_of(nest + "(n.x,) %}{% endfor %}").find("lists and dicts nest deeper"), std::string::npos);
  // A long chain of objects, and a circle, are freed (the address sanitizer looks).
  EXPECT_EQ(
      render(
          "{% set n = namespace(x=1) %}{% for i in range(90000) %}{% set n = namespace(x=n) %}{% endfor %}"),
      "");
  EXPECT_EQ(
      render(nest + "namespace(x=n.x) %}{% endfor %}{% set n.n = [n, {1: n}] %}{% set n.c = cycler(n) %}"),
      "");
  EXPECT_EQ(render("{% set n = namespace(x=[]) %}{% for i in [1] %}{% set n.x = [loop, n] %}{% endfor %}"),
            "");
}

TEST(ChatTemplateLimit, StepsAndText) {
  const std::string loops = repeated("{% for i in range(100000) %}", 4);
  EXPECT_NE(error_of(loops + "{{ i }}" + repeated("{% endfor %}", 4)).find("takes more than 10000000 steps"),
            std::string::npos);
  const std::string doubling = "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = ";
  EXPECT_NE(error_of(doubling + "n.x + n.x %}{% endfor %}").find("more than 16777216 bytes"),
            std::string::npos);
  EXPECT_NE(error_of(doubling + "n.x ~ n.x %}{% endfor %}").find("more than 16777216 bytes"),
            std::string::npos);
  EXPECT_NE(error_of(doubling + "[n.x, n.x] %}{% endfor %}{{ n.x }}").find("more than"), std::string::npos);
  EXPECT_NE(error_of(doubling + "[n.x, n.x] %}{% endfor %}{{ n.x == [n.x[0], n.x[0]] }}{{ n.x|tojson }}")
                .find("more than"),
            std::string::npos);
  EXPECT_NE(error_of(doubling + "n.x|replace('a', 'aa') %}{{ n.x * 30000 }}{% endfor %}").find("more than"),
            std::string::npos);
  for (const char* big :
       {"'x' * 1000000000", "'x'|center(1000000000)", "[1] * 1000000000", "'x'.zfill(1000000000)",
        "'%1000000000d' % 1", "'{:1000000000}'.format(1)", "'a'|indent(1000000000, true)", "range(1000000)",
        "[1]|batch(1000000000, 1)", "[1]|slice(1000000000)"}) {
    EXPECT_NE(error_of(std::string("{{ ") + big + " }}"), "") << big;
  }
}

// Whatever the template, the end is a text or a TemplateError: templates of strangers are loaded, too.
TEST(ChatTemplateMutants, RenderOrFailCleanly) {
  const std::string path = kFolder + "/template_cases.json";
  const boost::json::value cases = parse_json(read_file(path), path);
  std::vector<std::string> sources;
  for (const auto& row : cases.as_array()) {
    std::string source = text_of(row.at("template"));
    if (source.ends_with(".jinja")) source = read_file(kFolder + "/templates/" + source);
    sources.push_back(source);
  }
  const boost::json::object variables = cases.at(0).at("variables").as_object();
  std::mt19937 random(11);
  const auto draw = [&](size_t below) { return static_cast<size_t>(random() % below); };
  int rendered = 0;
  for (int round = 0; round < 5'000; ++round) {
    std::string mutant = sources[draw(sources.size())];
    for (size_t i = 0, changes = 1 + draw(4); i < changes; ++i) {
      const std::string& other = sources[draw(sources.size())];
      const size_t at = draw(mutant.size() + 1), from = draw(other.size() + 1);
      switch (draw(4)) {
        case 0:
          mutant.erase(at, draw(6));
          break;
        case 1:
          mutant.insert(at, other.substr(from, draw(30)));
          break;
        case 2:
          mutant.insert(at, 1, static_cast<char>(draw(256)));
          break;
        default:
          mutant = mutant.substr(0, at) + other.substr(from);
      }
    }
    try {
      render(mutant, variables);
      ++rendered;
    } catch (const TemplateError&) {
    }
  }
  EXPECT_GT(rendered, 400);
  EXPECT_LT(rendered, 4'500);
}

class ChatTemplateFolder : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) { std::ofstream(path(name)) << content; }
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  ChatTemplate load(const std::string& file = "") { return ChatTemplate::load(folder_.path(), file); }
  std::string failure(const std::string& file = "") {
    try {
      load(file);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return {};
  }
  TemporaryFolder folder_;
};

TEST_F(ChatTemplateFolder, TakesTheOneInTheConfiguration) {
  write("tokenizer_config.json", R"({"chat_template": "{{ bos_token }}a{{ eos_token }}", "bos_token": "<b>",
                                     "eos_token": {"content": "<e>", "lstrip": false}})");
  EXPECT_EQ(load().render({}), "<b>a<e>");
  write("chat_template.jinja", "file {{ eos_token }}");
  EXPECT_EQ(load().render({}), "file <e>");
  write("mine", "mine {{ bos_token }}");
  EXPECT_EQ(load(path("mine")).render({}), "mine <b>");
}

TEST_F(ChatTemplateFolder, TakesTheOneNamedDefault) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"},
                                                       {"name": "default", "template": "d{{ bos_token }}"}],
                                     "bos_token": null})");
  EXPECT_EQ(load().render({}), "d");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "t"}]})");
  EXPECT_EQ(failure(),
            path("tokenizer_config.json") + ": key chat_template: none of the templates is named default");
}

TEST_F(ChatTemplateFolder, SaysWhatIsWrong) {
  EXPECT_NE(failure().find("neither chat_template.jinja nor tokenizer_config.json"), std::string::npos);
  EXPECT_EQ(failure(path("mine")), path("mine") + ": cannot be read");
  write("mine", "a\n{% if %}");
  EXPECT_EQ(failure(path("mine")), path("mine") + ": chat template line 2: expected an expression, found %}");
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_EQ(failure(),
            path("tokenizer_config.json") + ": key chat_template: expected a string, found an integer");
}

TEST(ChatTemplate, RendersAgainAndAgain) {
  const ChatTemplate one = ChatTemplate::parse("{% set x = x + 1 %}{{ x }}{{ bos_token }}", "<s>", "");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(one.render({{"x", i}}), std::to_string(i + 1) + "<s>");
  // What the caller gives wins over what the model's files give.
  EXPECT_EQ(one.render({{"x", 1}, {"bos_token", "B"}}), "2B");
}

}  // namespace
}  // namespace batchmax::coordinator
