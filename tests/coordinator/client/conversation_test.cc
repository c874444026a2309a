#include "coordinator/client/conversation.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "coordinator/client/api_client.h"

namespace batchmax::coordinator {
namespace {

namespace json = boost::json;

json::value messages_of(const std::string& request) { return json::parse(request).at("messages"); }

TEST(Conversation, SendsNothingThatWasNotSet) {
  const json::value body = json::parse(Conversation({}, "m", "").request("Why?"));
  EXPECT_EQ(body,
            json::parse(R"({"model": "m", "messages": [{"role": "user", "content": "Why?"}], "stream": true,
                                  "stream_options": {"include_usage": true}})"));
}

TEST(Conversation, SendsWhatWasSet) {
  ChatFlags flags;
  flags.max_tokens = 5;
  flags.temperature = 0;
  flags.kv_budget = 256;
  flags.compression = "decode";
  const json::value body = json::parse(Conversation(flags, "m", "").request("Why?"));
  EXPECT_EQ(body.at("max_tokens"), 5);
  EXPECT_EQ(body.at("temperature"), 0.0);
  EXPECT_EQ(body.at("kv_budget"), 256);
  EXPECT_EQ(body.at("compression"), "decode");
}

TEST(Conversation, KeepsTurnsAndPutsTheDocumentBeforeTheFirstQuestion) {
  ChatFlags flags;
  flags.system = "Be brief.";
  Conversation conversation(flags, "m", "A long text.\n\n");
  conversation.add("Who?", "He.");
  EXPECT_EQ(messages_of(conversation.request("Why?")),
            json::parse(R"([{"role": "system", "content": "Be brief."},
                            {"role": "user", "content": "A long text.\n\nWho?"},
                            {"role": "assistant", "content": "He."}, {"role": "user", "content": "Why?"}])"));
  conversation.reset();
  EXPECT_EQ(messages_of(conversation.request("When?")),
            json::parse(R"([{"role": "system", "content": "Be brief."},
                            {"role": "user", "content": "A long text.\n\nWhen?"}])"));
  // Alone it is sent as it is: it may hold the question.
  EXPECT_EQ(messages_of(conversation.request("")).at(1).at("content"), "A long text.\n\n");
}

TEST(AnswerPiece, ReadsChatsAndCompletions) {
  const AnswerPiece chat =
      parse_piece(R"({"choices": [{"delta": {"content": "a\u0000b"}, "finish_reason": null}]})");
  EXPECT_TRUE(chat.has_choice);
  EXPECT_EQ(chat.text, std::string("a\0b", 3));
  EXPECT_EQ(chat.finish_reason, "");
  const AnswerPiece end =
      parse_piece(R"({"choices": [{"text": "x", "finish_reason": "length"}], "usage": null})");
  EXPECT_EQ(end.text, "x");
  EXPECT_EQ(end.finish_reason, "length");
  EXPECT_EQ(end.prompt_tokens, std::nullopt);
  const AnswerPiece usage =
      parse_piece(R"({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4},
                                            "batchmax": {"kv_bytes_peak": 5, "tokens_evicted": 6}})");
  EXPECT_FALSE(usage.has_choice);
  EXPECT_EQ(usage.prompt_tokens, 3);
  EXPECT_EQ(usage.completion_tokens, 4);
  EXPECT_EQ(usage.kv_bytes_peak, 5);
  EXPECT_EQ(usage.tokens_evicted, 6);
}

TEST(AnswerPiece, TakesShapesItDoesNotKnowForNothing) {
  for (const char* event : {"[]", "7", R"({"choices": 3})", R"({"choices": [{"delta": {"content": null}}]})",
                            R"({"usage": {"prompt_tokens": "many"}})"})
    EXPECT_EQ(parse_piece(event).text, "") << event;
  EXPECT_THROW(parse_piece("{"), ClientError);
}

}  // namespace
}  // namespace batchmax::coordinator
