// What needs no Python: equality with the original packages is in test_tokenizers.py.
#include "coordinator/text/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "coordinator/text/tokenize_command.h"
#include "coordinator/text/utf8.h"
#include "tests/support/temporary_folder.h"

namespace batchmax::coordinator {
namespace {

const std::string kDemo = std::string(BATCHMAX_SOURCE_DIR) + "/demo/longbook-17m";

const Tokenizer& demo() {
  static const Tokenizer loaded = Tokenizer::load(kDemo);
  return loaded;
}

TEST(Tokenizer, GoesThereAndBack) {
  const std::string text = "“Grüße” an 🦉 und\n\n\t汉字 — it's 1984!";
  const auto ids = demo().encode(text, true);
  EXPECT_EQ(demo().decode(ids, true), text);
}

TEST(Tokenizer, KnowsItsTokens) {
  EXPECT_EQ(demo().token(1), "<|im_start|>");
  EXPECT_EQ(demo().id("<|im_start|>"), 1);
  EXPECT_TRUE(demo().is_special(1));
  EXPECT_FALSE(demo().is_special(1000));
  EXPECT_EQ(demo().token(-1), "");
  EXPECT_EQ(demo().token(demo().vocab_size()), "");
  EXPECT_EQ(demo().id("no such token"), -1);
  EXPECT_EQ(demo().encode("<|im_start|>", false), std::vector<int32_t>{1});
}

TEST(Tokenizer, SkipsIdsThatAreNone) {
  const auto ids = demo().encode("word", false);
  std::vector<int32_t> with = {-5, 1 << 30};
  with.insert(with.end(), ids.begin(), ids.end());
  EXPECT_EQ(demo().decode(with, false), "word");
}

TEST(StreamDetokenizer, WaitsForTheWholeCharacter) {
  StreamDetokenizer stream(demo(), true);
  const auto ids = demo().encode("𓂀", false);  // too rare to be one token
  ASSERT_GT(ids.size(), 1u);
  for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(stream.add(ids[i]), "");
  EXPECT_EQ(stream.add(ids.back()), "𓂀");
  EXPECT_EQ(stream.add(ids.front()), "");
  EXPECT_EQ(stream.finish(), kReplacementCharacter);  // a model may end in the middle
}

// Of the SentencePiece kind: a word begins with a mark, which is a space except where the text begins.
const Tokenizer& marked() {
  static const Tokenizer loaded = Tokenizer::parse(R"({
    "added_tokens": [{"id": 0, "content": "<s>", "special": true}],
    "model": {"type": "BPE", "byte_fallback": true, "merges": [],
              "vocab": {"<s>": 0, "▁": 1, "▁sea": 2, "s": 3, "<0xF0>": 4, "<0x9F>": 5, "<0xzz>": 6, "é": 7}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})",
                                                   "tokenizer.json");
  return loaded;
}

TEST(Tokenizer, TellsTheBytesOfATokenAmongOthers) {
  EXPECT_EQ(marked().bytes(2), " sea");
  EXPECT_EQ(marked().bytes(4), "\xF0");
  EXPECT_EQ(marked().bytes(6), "<0xzz>");
  EXPECT_EQ(marked().bytes(7), "é");
  EXPECT_EQ(marked().bytes(0), "<s>");
  EXPECT_EQ(marked().bytes(99), "");
  const auto ids = demo().encode(" 𓂀", false);
  std::string text;
  for (const int32_t id : ids) text += demo().bytes(id);
  EXPECT_GT(ids.size(), 2u);
  EXPECT_EQ(text, " 𓂀");
}

TEST(StreamDetokenizer, KeepsTheSpaceBehindAText) {
  for (const bool behind_text : {false, true}) {
    StreamDetokenizer stream(marked(), true, behind_text);
    std::string text;
    for (const int32_t id : {0, 2, 2}) text += stream.add(id);
    EXPECT_EQ(text, behind_text ? " sea sea" : "sea sea");
  }
}

// Steps, not seconds: twice the text may not take much more than twice the work.
TEST(Tokenizer, IsLinearOnHostileText) {
  for (const std::string unit :
       {"a", " ", "🦉", "ab", "\n", "1", "é", ".", "aaaaaaaab", "'", "\u0300", "的"}) {
    const auto steps = [&](size_t bytes) {
      std::string text;
      while (text.size() < bytes) text += unit;
      uint64_t count = 0;
      demo().encode(text, false, count);
      return static_cast<double>(count);
    };
    const double small = steps(100'000), large = steps(800'000);
    EXPECT_LT(large, small * 8 * 1.3 + 1000) << unit;
    EXPECT_LT(large, 800'000 * 40.0) << unit;
  }
}

// The Python package, as a whole, puts what stands before a text there twice; its normalizer alone does this.
TEST(Tokenizer, ReplacesAnEmptyMatchByWhatItSays) {
  const auto ids = [](const std::string& regex, const std::string& text) {
    const std::string json =
        R"({"normalizer": {"type": "Replace", "content": "_", "pattern": {"Regex": ")" + regex +
        R"("}}, "model": {"type": "BPE", "merges": [], "vocab": {"_": 0, "a": 1, "b": 2, "x": 3}}})";
    return Tokenizer::parse(json, "tokenizer.json").encode(text, false);
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(ids("^", "ab"), (Ids{0, 1, 2}));
  EXPECT_EQ(ids("^", ""), Ids{});
  EXPECT_EQ(ids("x*", "xxabxa"), (Ids{0, 1, 0, 2, 0, 1, 0}));
}

std::string refusal(const std::string& json) {
  try {
    Tokenizer::parse(json, "tokenizer.json");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

TEST(Tokenizer, SaysWhatIsWrong) {
  EXPECT_NE(refusal("{"), "");
  EXPECT_EQ(refusal("{}"), "tokenizer.json: expected a member model, found none");
  EXPECT_NE(refusal(R"({"model": {"type": "WordPiece"}})").find("key model.type"), std::string::npos);
  const std::string bpe = R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [)";
  EXPECT_NE(refusal("{" + bpe + "\"a b\"]}}").find("key model.merges: merge 0"), std::string::npos);
  EXPECT_EQ(refusal("{" + bpe + "]}}"), "");
  EXPECT_NE(
      refusal("{" + bpe + R"(]}, "normalizer": {"type": "BertNormalizer"}})").find("key normalizer.type"),
      std::string::npos);
  EXPECT_NE(refusal("{" + bpe + R"(]}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("},
                    "behavior": "Isolated"}})")
                .find("key pre_tokenizer.pattern.Regex"),
            std::string::npos);
  // What the Python package does in another way than one would think, and nobody publishes.
  EXPECT_EQ(
      refusal("{" + bpe + R"(]}, "decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"},
                    {"type": "ByteLevel"}]}})"),
      "tokenizer.json: key decoder.decoders.1.type: ByteLevel behind Fuse or ByteLevel is not known here");
  EXPECT_EQ(
      refusal("{" + bpe + R"(]}, "post_processor": {"type": "Sequence", "processors": [
                    {"type": "ByteLevel"}, {"type": "BertProcessing", "sep": ["a", 0], "cls": ["b", 1]},
                    {"type": "BertProcessing", "sep": ["a", 0], "cls": ["b", 1]}]}})"),
      "tokenizer.json: key post_processor.processors.2: a second one that adds tokens is not known here");
  EXPECT_NE(refusal(R"({"model": {"type": "BPE", "vocab": {"a": 999999999999}, "merges": []}})"), "");
  EXPECT_NE(refusal(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}})"), "");
}

// Tables of replacements come with the model: whatever they hold, text stays text.
TEST(Tokenizer, SurvivesAnyPrecompiledTable) {
  const auto with = [](const std::string& table) {
    return R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Precompiled",
              "precompiled_charsmap": )" +
           table + "}}";
  };
  EXPECT_EQ(refusal(with("null")), "");
  EXPECT_NE(refusal(with("\"%\"")).find("expected a table in base64"), std::string::npos);
  EXPECT_NE(refusal(with("\"/////w==\"")).find("shorter than it says"), std::string::npos);
  std::mt19937 random(3);
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0; i < 200; ++i) {
    std::string table = "\"AAEAAA";  // 256 bytes of trie, then text
    for (int digit = 0; digit < 400; ++digit) table += digit < 340 ? kDigits[random() % 64] : 'B';
    const Tokenizer tokenizer = Tokenizer::parse(with(table + "\""), "tokenizer.json");
    for (const std::string text : {"a", "ab é 🦉", "\r\n\u0301"}) tokenizer.encode(text, false);
  }
}

TEST(TokenizeCommand, IsAFilter) {
  const auto run = [](const TokenizeOptions& options, const std::string& input, int status) {
    std::istringstream in(input);
    std::ostringstream out, err;
    EXPECT_EQ(tokenize_command(options, in, out, err), status) << err.str();
    return status == 0 ? out.str() : err.str();
  };
  const std::string ids = run({kDemo}, "\"a b\"\n\"\"\n", 0);
  EXPECT_EQ(ids.substr(ids.find('\n')), "\n[]\n");
  TokenizeOptions back{kDemo};
  back.decode = true;
  EXPECT_EQ(run(back, ids, 0), "\"a b\"\n\"\"\n");
  EXPECT_NE(run({kDemo}, "\"a\"\n5\n", 1).find("standard input, line 2: expected a string"),
            std::string::npos);
  EXPECT_EQ(run({kDemo}, "\"a\"\n\"b\n", 1),
            "batchmax tokenize: standard input, line 2: not valid JSON: incomplete JSON\n");
  EXPECT_NE(run(back, "[-1]\n", 1).find("line 1"), std::string::npos);
  EXPECT_NE(run({"/no/such/folder"}, "", 1).find("/no/such/folder"), std::string::npos);

  std::istringstream in("\"a\"\n");
  std::ostream full(nullptr);  // takes nothing
  std::ostringstream err;
  EXPECT_EQ(tokenize_command({kDemo}, in, full, err), 1);
  EXPECT_NE(err.str().find("standard output cannot be written"), std::string::npos);
}

}  // namespace
}  // namespace batchmax::coordinator
