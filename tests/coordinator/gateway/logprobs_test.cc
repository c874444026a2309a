// Several choices, log probabilities, echo: what completions tell beyond text.
#include <boost/json/array.hpp>
#include <limits>

#include "tests/coordinator/gateway/completion_fixture.h"

namespace batchmax::coordinator {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::string token_text(const Tokenizer& tokenizer, int32_t id) {
  return tokenizer.decode(std::vector<int32_t>{id}, false);
}

// Prompt [5, 6, 7], two drawn tokens.
std::deque<TokenEvent> scored_answer(const TokenRequest& request) {
  std::deque<TokenEvent> events;
  if (request.prompt_logprobs) {
    events.push_back(PromptLogprobs{{{-1.5F, 3, {{900, -0.25F}}}}});
    events.push_back(PromptLogprobs{{{-0.125F, 1, {{7, -0.125F}}}}});
  }
  if (request.logprobs >= 0) {
    events.push_back(TokenChunk{{1000}, {{-0.5F, 1, {{1000, -0.5F}}}}});
    events.push_back(TokenChunk{{1001}, {{-kInfinity, 40, {{1002, -0.75F}}}}});
  } else {
    events.push_back(TokenChunk{{1000, 1001}});
  }
  TokenEnd end;
  end.reason = FinishReason::length;
  events.push_back(end);
  return events;
}

class Logprobs : public Completion {
 protected:
  Logprobs() { backend_.script = scored_answer; }
  static std::string text(int32_t id) { return token_text(tokenizer(), id); }
};

TEST_F(Logprobs, StandBesideTheDrawnTokens) {
  start();
  const auto json = post("/v1/completions", R"({"prompt": [5, 6, 7], "logprobs": 1})").json();
  EXPECT_EQ(backend_.requests().at(0).logprobs, 1);
  EXPECT_FALSE(backend_.requests().at(0).prompt_logprobs);
  const auto& told = json.at("choices").at(0).at("logprobs");
  EXPECT_EQ(told.at("tokens"), (boost::json::array{text(1000), text(1001)}));
  EXPECT_EQ(told.at("token_logprobs"), (boost::json::array{-0.5, -9999.0}));
  EXPECT_EQ(told.at("top_logprobs").at(0).as_object().size(), 1u);
  EXPECT_EQ(told.at("top_logprobs").at(0).at(text(1000)).as_double(), -0.5);
  EXPECT_EQ(told.at("top_logprobs").at(1).as_object().size(), 2u) << "the best, and the drawn one";
  EXPECT_EQ(told.at("text_offset").at(0), 0);
  EXPECT_EQ(told.at("text_offset").at(1), text(1000).size());
}

TEST_F(Logprobs, OfPromptAndOutputWithEcho) {
  start();
  const auto json =
      post("/v1/completions", R"({"prompt": [5, 6, 7], "echo": true, "logprobs": 1, "max_tokens": 2})")
          .json();
  EXPECT_TRUE(backend_.requests().at(0).prompt_logprobs);
  const auto& choice = json.at("choices").at(0);
  EXPECT_EQ(choice.at("text").as_string(), text_of({5, 6, 7}) + text_of({1000, 1001}));
  const auto& told = choice.at("logprobs");
  EXPECT_EQ(told.at("token_logprobs"), (boost::json::array{nullptr, -1.5, -0.125, -0.5, -9999.0}));
  EXPECT_TRUE(told.at("top_logprobs").at(0).is_null());
  EXPECT_EQ(told.at("top_logprobs").at(1).at(text(900)).as_double(), -0.25);
  EXPECT_EQ(told.at("tokens").at(1).as_string(), text(6));
  EXPECT_EQ(told.at("text_offset").as_array().size(), 5u);
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 2);
}

TEST_F(Logprobs, EchoWithoutThem) {
  start();
  const auto json = post("/v1/completions", R"({"prompt": "The sea", "echo": true})").json();
  EXPECT_EQ(json.at("choices").at(0).at("text").as_string(), "The sea" + text_of({1000, 1001}));
  EXPECT_TRUE(json.at("choices").at(0).at("logprobs").is_null());
  EXPECT_FALSE(backend_.requests().at(0).prompt_logprobs);
}

TEST_F(Logprobs, StreamTheEchoFirstThenToken) {
  start();
  const auto events = stream(R"("echo": true, "logprobs": 1)").events();
  ASSERT_EQ(events.size(), 5u);  // echo, two tokens, the end, [DONE]
  const auto first = parse(events[0]).at("choices").at(0);
  EXPECT_EQ(first.at("text").as_string(), text_of({5, 6, 7}));
  EXPECT_EQ(first.at("logprobs").at("tokens").as_array().size(), 3u);
  const auto second = parse(events[1]).at("choices").at(0);
  EXPECT_EQ(second.at("logprobs").at("token_logprobs"), (boost::json::array{-0.5}));
  EXPECT_EQ(second.at("logprobs").at("text_offset").at(0), text(5).size() + text(6).size() + text(7).size());
  EXPECT_TRUE(parse(events[3]).at("choices").at(0).at("logprobs").is_null());
}

// Of the SentencePiece kind: a space stands before every word but a text's first.
const Tokenizer& marked() {
  static const Tokenizer loaded = Tokenizer::parse(R"({
    "added_tokens": [{"id": 0, "content": "<s>", "special": true}],
    "model": {"type": "BPE", "byte_fallback": true, "merges": [],
              "vocab": {"<s>": 0, "▁the": 1, "the": 2, "▁sea": 3, "<0xC3>": 4, "<0xA9>": 5}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})",
                                                   "tokenizer.json");
  return loaded;
}

TEST_F(Logprobs, TextOfTokensIsThatOfTheAnswer) {
  backend_.script = [](const TokenRequest& request) {
    std::deque<TokenEvent> events;
    if (request.prompt_logprobs) events.push_back(PromptLogprobs{{{-1, 1, {{2, -1}}}}});
    events.push_back(TokenChunk{{3}, {{-1, 1, {{1, -0.5F}, {2, -0.75F}}}}});
    events.push_back(TokenChunk{{4, 5}, {{-1, 1, {{4, -1}, {5, -2}}}, {-1, 1, {{5, -1}}}}});
    TokenEnd end;
    end.reason = FinishReason::length;
    events.push_back(end);
    return events;
  };
  start({&marked(), nullptr});
  const auto plain = post("/v1/completions", R"({"prompt": [0, 1], "logprobs": 2})").json();
  EXPECT_EQ(plain.at("choices").at(0).at("text"), " seaé");
  const auto& told = plain.at("choices").at(0).at("logprobs");
  EXPECT_EQ(told.at("tokens"), (boost::json::array{" sea", "bytes:\\xc3", "bytes:\\xa9"}));
  EXPECT_EQ(told.at("text_offset"), (boost::json::array{0, 4, 5}));
  EXPECT_EQ(told.at("top_logprobs").at(0).as_object().size(), 3u);
  EXPECT_EQ(told.at("top_logprobs").at(1).as_object().size(), 2u) << "parts of characters differ";

  const auto echo =
      post("/v1/completions", R"({"prompt": [0, 1], "logprobs": 2, "echo": true})").json().at("choices");
  EXPECT_EQ(echo.at(0).at("text"), "the seaé");
  EXPECT_EQ(echo.at(0).at("logprobs").at("tokens"),
            (boost::json::array{"<s>", "the", " sea", "bytes:\\xc3", "bytes:\\xa9"}));
  EXPECT_EQ(echo.at(0).at("logprobs").at("text_offset"), (boost::json::array{0, 0, 3, 7, 8}));
}

TEST_F(Logprobs, OfAPromptAlone) {
  start();
  const std::string fields = R"("prompt": [5, 6, 7], "echo": true, "logprobs": 1, "max_tokens": 0)";
  const auto json = post("/v1/completions", "{" + fields + "}").json();
  EXPECT_EQ(backend_.requests().at(0).max_tokens, 1) << "a step draws one; it is not told";
  const auto& choice = json.at("choices").at(0);
  EXPECT_EQ(choice.at("text").as_string(), text_of({5, 6, 7}));
  EXPECT_EQ(choice.at("logprobs").at("token_logprobs"), (boost::json::array{nullptr, -1.5, -0.125}));
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 0);
  const auto events = post("/v1/completions", "{" + fields + R"(, "stream": true})").events();
  ASSERT_EQ(events.size(), 3u);  // echo, the end, [DONE]
  EXPECT_EQ(parse(events[0]).at("choices").at(0).at("text").as_string(), text_of({5, 6, 7}));
  EXPECT_EQ(parse(events[1]).at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(post("/v1/completions", R"({"prompt": [5], "max_tokens": 0})").status, 400) << "nothing at all";
}

TEST_F(Logprobs, WithoutATokenizerIdsStandForText) {
  start({nullptr, nullptr});
  const auto json = post("/v1/completions", R"({"prompt": [5, 6, 7], "echo": true, "logprobs": 1})").json();
  const auto& choice = json.at("choices").at(0);
  EXPECT_EQ(choice.at("token_ids"), (boost::json::array{5, 6, 7, 1000, 1001}));
  EXPECT_EQ(choice.at("logprobs").at("tokens").at(3).as_string(), "token_id:1000");
}

class Choices : public Completion {};

TEST_F(Choices, AreNumberedPromptByPrompt) {
  backend_.script = [](const TokenRequest& request) {
    return answer({1000 + request.tokens[0] + request.sampling.choice}, FinishReason::length);
  };
  start();
  const auto json = post("/v1/completions", R"({"prompt": [[10], [20]], "n": 3, "seed": 7})").json();
  ASSERT_EQ(json.at("choices").as_array().size(), 6u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(json.at("choices").at(i).at("index"), i);
    EXPECT_EQ(json.at("choices").at(i).at("text").as_string(), text_of({1010 + 10 * (i / 3) + i % 3}));
  }
  EXPECT_EQ(json.at("usage").at("prompt_tokens"), 2) << "a prompt counts once";
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 6);
  for (const TokenRequest& request : backend_.requests()) EXPECT_EQ(request.sampling.seed, 7u);
}

TEST_F(Choices, ShareASeedWhereNoneIsGiven) {
  start();
  ASSERT_EQ(post("/v1/completions", R"({"prompt": [[10], [20]], "n": 2})").status, 200);
  const auto requests = backend_.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[0].sampling.seed, requests[1].sampling.seed);
  EXPECT_EQ(requests[1].sampling.choice, 1);
  EXPECT_NE(requests[0].sampling.seed, requests[2].sampling.seed);
}

TEST_F(Choices, OneThatStopsHarmsNoOther) {
  const std::string stop = text_of({1001});
  backend_.script = [](const TokenRequest& request) {
    return request.sampling.choice == 0 ? answer({1000, 1001, 1002}, FinishReason::length)
                                        : answer({1000, 1003, 1002}, FinishReason::length);
  };
  start();
  const auto json = post("/v1/completions", R"({"prompt": [5], "n": 2, "stop": ")" + stop + "\"}").json();
  EXPECT_EQ(json.at("choices").at(0).at("text").as_string(), text_of({1000}));
  EXPECT_EQ(json.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(json.at("choices").at(1).at("text").as_string(), text_of({1000, 1003, 1002}));
  EXPECT_EQ(json.at("choices").at(1).at("finish_reason"), "length");
  EXPECT_EQ(backend_.stopped, 1);
  EXPECT_TRUE(eventually([&] { return backend_.open == 0; }));
}

TEST_F(Choices, StopStringsCountBehindMinTokens) {
  const std::string stop = text_of({1001});
  backend_.script = [](const TokenRequest&) {
    return answer({1000, 1001, 1002, 1001, 1003}, FinishReason::length);
  };
  start();
  const auto json =
      post("/v1/completions", R"({"prompt": [5], "min_tokens": 2, "stop": ")" + stop + "\"}").json();
  EXPECT_EQ(json.at("choices").at(0).at("text").as_string(), text_of({1000, 1001, 1002}));
  EXPECT_EQ(backend_.requests().at(0).min_tokens, 2);
}

TEST_F(Choices, MinTokensAreAtMostMaxTokens) {
  start();
  const auto answer = post("/v1/completions", R"({"prompt": [5], "min_tokens": 5, "max_tokens": 4})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.error_code(), "invalid_value");
  EXPECT_EQ(post("/v1/completions", R"({"prompt": [5], "min_tokens": 4, "max_tokens": 4})").status, 200);
}

TEST_F(Choices, SpecialTokensAreShownWhereAsked) {
  const int32_t end = tokenizer().id("<|im_end|>");
  ASSERT_GE(end, 0);
  backend_.script = [end](const TokenRequest&) { return answer({1000, end}, FinishReason::length); };
  start();
  const auto shown = post("/v1/completions", R"({"prompt": [5], "skip_special_tokens": false})").json();
  EXPECT_TRUE(shown.at("choices").at(0).at("text").as_string().ends_with("<|im_end|>"));
  const auto skipped = post("/v1/completions", R"({"prompt": [5]})").json();
  EXPECT_EQ(skipped.at("choices").at(0).at("text").as_string(), text_of({1000}));
}

TEST_F(Choices, PassPenaltiesAndBiasesOn) {
  start();
  ASSERT_EQ(post("/v1/completions", R"({"prompt": [5], "presence_penalty": 0.5, "frequency_penalty": -0.25,
                 "repetition_penalty": 1.5, "logit_bias": {"50": -1}})")
                .status,
            200);
  const TokenRequest request = backend_.requests().at(0);
  EXPECT_EQ(request.sampling.presence_penalty, 0.5f);
  EXPECT_EQ(request.sampling.frequency_penalty, -0.25f);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5f);
  ASSERT_EQ(request.logit_bias.size(), 1u);
  EXPECT_EQ(request.logit_bias[0].id, 50);
  EXPECT_EQ(request.logprobs, -1);
}

}  // namespace
}  // namespace batchmax::coordinator
