// What chat completions have of their own; the rest is in completion_test.cc.
#include "coordinator/text/chat_template.h"
#include "tests/coordinator/gateway/completion_fixture.h"

namespace batchmax::coordinator {
namespace {

class Chat : public Completion {
 protected:
  void start_chat() {
    chat_template_.emplace(ChatTemplate::load(std::string(BATCHMAX_SOURCE_DIR) + "/demo/longbook-17m", ""));
    start({&tokenizer(), &*chat_template_});
  }
  std::optional<ChatTemplate> chat_template_;
};

TEST_F(Chat, RendersTheTemplate) {
  start_chat();
  ASSERT_EQ(
      post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4})")
          .status,
      200);
  EXPECT_EQ(tokenizer().decode(backend_.requests().at(0).tokens, false),
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(Chat, TemplatesSeeThatThereAreNoTools) {
  chat_template_.emplace(ChatTemplate::parse(
      "{{ 'tools' if tools is not none else 'none' }} {{ 'documents' if documents is not none else 'none' }}",
      "", ""));
  start({&tokenizer(), &*chat_template_});
  post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4})");
  EXPECT_EQ(tokenizer().decode(backend_.requests().at(0).tokens, false), "none none");
}

TEST_F(Chat, TemplatesSeeWhatWasThought) {
  chat_template_.emplace(ChatTemplate::parse(
      "{% for m in messages %}{{ m.reasoning_content }}|{{ m.content }};{% endfor %}", "", ""));
  start({&tokenizer(), &*chat_template_});
  post("/v1/chat/completions",
       R"({"messages": [{"role": "assistant", "content": "a", "reasoning_content": "why"},
       {"role": "user", "content": "b", "reasoning_content": null}], "max_tokens": 4})");
  EXPECT_EQ(tokenizer().decode(backend_.requests().at(0).tokens, false), "why|a;|b;");
}

TEST_F(Chat, AddsSpecialTokensWhereTheClientSaysSo) {
  const Tokenizer marking =
      Tokenizer::parse(R"({"added_tokens": [{"id": 0, "content": "<s>", "special": true}],
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "model": {"type": "BPE", "vocab": {"<s>": 0, "h": 1, "i": 2}, "merges": []}})",
                       "tokenizer.json");
  chat_template_.emplace(ChatTemplate::parse("{{ messages[0].content }}", "", ""));
  start({&marking, &*chat_template_});
  using Ids = std::vector<int32_t>;
  const auto prompt_of = [&](const std::string& path, const std::string& fields) {
    EXPECT_EQ(post(path, "{" + fields + R"(, "max_tokens": 4})").status, 200) << fields;
    return backend_.requests().back().tokens;
  };
  const std::string text = R"("prompt": "hi")", chat = R"("messages": [{"role": "user", "content": "hi"}])";
  const std::string yes = R"(, "add_special_tokens": true)", no = R"(, "add_special_tokens": false)";
  EXPECT_EQ(prompt_of("/v1/completions", text), (Ids{0, 1, 2}));
  EXPECT_EQ(prompt_of("/v1/completions", text + yes), (Ids{0, 1, 2}));
  EXPECT_EQ(prompt_of("/v1/completions", text + no), (Ids{1, 2}));
  EXPECT_EQ(prompt_of("/v1/chat/completions", chat), (Ids{1, 2}));
  EXPECT_EQ(prompt_of("/v1/chat/completions", chat + no), (Ids{1, 2}));
  EXPECT_EQ(prompt_of("/v1/chat/completions", chat + yes), (Ids{0, 1, 2}));
}

TEST_F(Chat, ContinuesTheFinalMessage) {
  start_chat();
  const auto prompt_of = [&](const std::string& content) {
    const auto answer =
        post("/v1/chat/completions",
             R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ")" +
                 content + R"("}], "max_tokens": 4, "continue_final_message": true})");
    if (answer.status != 200) return answer.error_code();
    return tokenizer().decode(backend_.requests().back().tokens, false);
  };
  const std::string opening = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(prompt_of("The sea is"), opening + "The sea is");
  EXPECT_EQ(prompt_of("hi"), opening + "hi") << "the last of equal texts";
  EXPECT_EQ(prompt_of(""), "invalid_value");
  EXPECT_EQ(prompt_of("  "), "invalid_value");
}

TEST_F(Chat, LeavesTheOpeningOfAnAnswerOut) {
  start_chat();
  ASSERT_EQ(post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4,
                 "add_generation_prompt": false})")
                .status,
            200);
  EXPECT_EQ(tokenizer().decode(backend_.requests().at(0).tokens, false), "<|im_start|>user\nhi<|im_end|>\n");
}

TEST_F(Chat, TellsLogProbabilities) {
  backend_.script = [](const TokenRequest&) {
    std::deque<TokenEvent> events;
    events.push_back(TokenChunk{{1000}, {{-0.5F, 2, {{1001, -0.25F}, {1000, -0.5F}}}}});
    TokenEnd end;
    end.reason = FinishReason::length;
    events.push_back(end);
    return events;
  };
  start_chat();
  const auto json = post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}],
                         "logprobs": true, "top_logprobs": 2})")
                        .json();
  EXPECT_EQ(backend_.requests().at(0).logprobs, 2);
  EXPECT_FALSE(backend_.requests().at(0).prompt_logprobs);
  const auto& content = json.at("choices").at(0).at("logprobs").at("content");
  ASSERT_EQ(content.as_array().size(), 1u);
  const auto& entry = content.at(0);
  const std::string text = tokenizer().decode(std::vector<int32_t>{1000}, false);
  EXPECT_EQ(entry.at("token").as_string(), text);
  EXPECT_EQ(entry.at("logprob").as_double(), -0.5);
  EXPECT_EQ(entry.at("bytes").as_array().size(), text.size());
  EXPECT_EQ(entry.at("bytes").at(0), static_cast<uint8_t>(text[0]));
  ASSERT_EQ(entry.at("top_logprobs").as_array().size(), 2u);
  EXPECT_EQ(entry.at("top_logprobs").at(0).at("logprob").as_double(), -0.25);
}

TEST_F(Chat, AnswersWhole) {
  start_chat();
  const auto json =
      post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}]})").json();
  EXPECT_EQ(json.at("object"), "chat.completion");
  EXPECT_TRUE(json.at("id").as_string().starts_with("chatcmpl-"));
  EXPECT_EQ(json.at("choices").at(0).at("message").at("role"), "assistant");
  EXPECT_EQ(json.at("choices").at(0).at("message").at("content").as_string(), text_of({1000, 1001, 1002}));
}

TEST_F(Chat, GivesTheRoleWithTheFirstToken) {
  start_chat();
  const auto events = stream("", "/v1/chat/completions").events();
  ASSERT_EQ(events.size(), 5u);
  const auto first = parse(events[0]);
  EXPECT_EQ(first.at("object"), "chat.completion.chunk");
  EXPECT_EQ(first.at("choices").at(0).at("delta").at("role"), "assistant");
  EXPECT_TRUE(first.at("choices").at(0).at("delta").as_object().contains("content"));
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_FALSE(parse(events[i]).at("choices").at(0).at("delta").as_object().contains("role"));
  }
  EXPECT_EQ(parse(events[3]).at("choices").at(0).at("finish_reason"), "length");
}

TEST_F(Chat, AllowsAsManyTokensAsFit) {
  start_chat();
  const std::string messages = R"({"messages": [{"role": "user", "content": "hi"}])";
  ASSERT_EQ(post("/v1/chat/completions", messages + "}").status, 200);
  ASSERT_EQ(post("/v1/chat/completions", messages + R"(, "compression": "off"})").status, 200);
  const auto requests = backend_.requests();
  const auto length = static_cast<int32_t>(requests[0].tokens.size());
  EXPECT_EQ(requests[0].max_tokens, 4096 - length);
  EXPECT_EQ(requests[1].max_tokens, 4096 - length);  // 200 pages hold more than the model's length
}

TEST_F(Chat, AllowsNoMoreThanTheMemoryHolds) {
  backend_.facts.capacity_pages = 2;
  start_chat();
  ASSERT_EQ(post("/v1/chat/completions",
                 R"({"messages": [{"role": "user", "content": "hi"}], "compression": "off"})")
                .status,
            200);
  const auto request = backend_.requests().at(0);
  EXPECT_EQ(static_cast<int32_t>(request.tokens.size()) + request.max_tokens, 128);
}

}  // namespace
}  // namespace batchmax::coordinator
