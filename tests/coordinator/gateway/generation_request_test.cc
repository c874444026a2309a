// Every field of a completion request: what is taken, what is refused, and how the refusal names it.
#include "coordinator/gateway/generation_request.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

RequestBounds bounds() {
  RequestBounds made;
  made.served_model = "m";
  made.max_model_len = 4096;
  made.vocab_size = 100;
  return made;
}

std::variant<GenerationRequest, ApiError> read(Api api, const std::string& body) {
  auto object = read_body_object(body);
  if (auto* error = std::get_if<ApiError>(&object)) return *error;
  return read_generation_request(api, std::get<boost::json::object>(object), bounds());
}

const std::string kChat = R"({"messages": [{"role": "user", "content": "hi"}])";
const std::string kText = R"({"prompt": "hi")";

std::string text_with(const std::string& field) { return kText + (field.empty() ? "" : ", " + field) + "}"; }
std::string chat_with(const std::string& field) { return kChat + (field.empty() ? "" : ", " + field) + "}"; }

struct Refusal {
  std::string fields;
  int status;
  std::string code, param;
};

void expect_refused(Api api, const std::string& body, const Refusal& wanted) {
  const auto outcome = read(api, body);
  const auto* error = std::get_if<ApiError>(&outcome);
  ASSERT_NE(error, nullptr) << "taken: " << body;
  EXPECT_EQ(error->status, wanted.status) << body;
  EXPECT_EQ(error->code, wanted.code) << body << error->message;
  EXPECT_EQ(error->param, wanted.param) << body;
  EXPECT_FALSE(error->message.empty());
}

TEST(GenerationRequest, RefusesFieldsOutOfRange) {
  const std::vector<Refusal> cases = {
      {R"("temperature": -0.1)", 400, "invalid_value", "temperature"},
      {R"("temperature": 2.1)", 400, "invalid_value", "temperature"},
      {R"("temperature": "1")", 400, "invalid_value", "temperature"},
      {R"("temperature": 1e400)", 400, "invalid_json", ""},
      {R"("top_p": 0)", 400, "invalid_value", "top_p"},
      {R"("top_p": 1.01)", 400, "invalid_value", "top_p"},
      {R"("top_k": -2)", 400, "invalid_value", "top_k"},
      {R"("top_k": 1.5)", 400, "invalid_value", "top_k"},
      {R"("min_p": -0.1)", 400, "invalid_value", "min_p"},
      {R"("min_p": 1.1)", 400, "invalid_value", "min_p"},
      {R"("max_tokens": 0)", 400, "invalid_value", "max_tokens"},
      {R"("max_tokens": -1)", 400, "invalid_value", "max_tokens"},
      {R"("max_tokens": 2147483648)", 400, "invalid_value", "max_tokens"},
      {R"("max_tokens": 18446744073709551615)", 400, "invalid_value", "max_tokens"},
      {R"("max_tokens": true)", 400, "invalid_value", "max_tokens"},
      {R"("max_completion_tokens": 0)", 400, "invalid_value", "max_completion_tokens"},
      {R"("seed": 1.5)", 400, "invalid_value", "seed"},
      {R"("seed": "a")", 400, "invalid_value", "seed"},
      {R"("stop": 5)", 400, "invalid_value", "stop"},
      {R"("stop": "")", 400, "invalid_value", "stop"},
      {R"("stop": ["a", ""])", 400, "invalid_value", "stop"},
      {R"("stop": ["a", 1])", 400, "invalid_value", "stop"},
      {R"("stop": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])", 400,
       "invalid_value", "stop"},
      {R"("stop_token_ids": [100])", 400, "invalid_value", "stop_token_ids"},
      {R"("stop_token_ids": [-1])", 400, "invalid_value", "stop_token_ids"},
      {R"("stop_token_ids": 5)", 400, "invalid_value", "stop_token_ids"},
      {R"("ignore_eos": 1)", 400, "invalid_value", "ignore_eos"},
      {R"("stream": "yes")", 400, "invalid_value", "stream"},
      {R"("stream_options": {"include_usage": true})", 400, "invalid_value", "stream_options"},
      {R"("stream": true, "stream_options": 1)", 400, "invalid_value", "stream_options"},
      {R"("stream": true, "stream_options": {"include_usage": 1})", 400, "invalid_value", "stream_options"},
      {R"("user": 5)", 400, "invalid_value", "user"},
      {R"("kv_budget": 0)", 400, "invalid_value", "kv_budget"},
      {R"("kv_budget": 5)", 400, "invalid_value", "kv_budget"},
      {R"("kv_budget": 4097)", 400, "invalid_value", "kv_budget"},
      {R"("compression": "half")", 400, "invalid_value", "compression"},
      {R"("compression": 1)", 400, "invalid_value", "compression"},
      {R"("n": 0)", 400, "invalid_value", "n"},
      {R"("n": 17)", 400, "invalid_value", "n"},
      {R"("n": 1.5)", 400, "invalid_value", "n"},
      {R"("n": "2")", 400, "invalid_value", "n"},
      {R"("presence_penalty": -2.01)", 400, "invalid_value", "presence_penalty"},
      {R"("presence_penalty": 2.01)", 400, "invalid_value", "presence_penalty"},
      {R"("presence_penalty": "0")", 400, "invalid_value", "presence_penalty"},
      {R"("frequency_penalty": -2.01)", 400, "invalid_value", "frequency_penalty"},
      {R"("frequency_penalty": 2.01)", 400, "invalid_value", "frequency_penalty"},
      {R"("frequency_penalty": [])", 400, "invalid_value", "frequency_penalty"},
      {R"("repetition_penalty": 0)", 400, "invalid_value", "repetition_penalty"},
      {R"("repetition_penalty": 0.009)", 400, "invalid_value", "repetition_penalty"},
      {R"("repetition_penalty": 10.1)", 400, "invalid_value", "repetition_penalty"},
      {R"("repetition_penalty": -1)", 400, "invalid_value", "repetition_penalty"},
      {R"("min_tokens": -1)", 400, "invalid_value", "min_tokens"},
      {R"("min_tokens": 1.5)", 400, "invalid_value", "min_tokens"},
      {R"("min_tokens": 2147483648)", 400, "invalid_value", "min_tokens"},
      {R"("logit_bias": [])", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"5": 100.1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"5": -100.1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"5": "1"})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"5": null})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"100": 1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"-1": 1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"05": 1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"": 1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"5x": 1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"the": 1})", 400, "invalid_value", "logit_bias"},
      {R"("logit_bias": {"5": 1, "5": 2})", 400, "invalid_json", ""},
      {R"("skip_special_tokens": 1)", 400, "invalid_value", "skip_special_tokens"},
      {R"("add_special_tokens": 1)", 400, "invalid_value", "add_special_tokens"},
      {R"("priority": "high")", 400, "invalid_value", "priority"},
      {R"("priority": 2147483648)", 400, "invalid_value", "priority"},
      {R"("model": "other")", 404, "model_not_found", "model"},
      {R"("model": 5)", 400, "invalid_value", "model"},
  };
  for (const Refusal& one : cases) {
    expect_refused(Api::completion, text_with(one.fields), one);
    expect_refused(Api::chat, chat_with(one.fields), one);
  }
}

TEST(GenerationRequest, RefusesWhatOneApiAloneHas) {
  const std::vector<Refusal> completion = {
      {R"("logprobs": true)", 400, "invalid_value", "logprobs"},
      {R"("logprobs": -1)", 400, "invalid_value", "logprobs"},
      {R"("logprobs": 21)", 400, "invalid_value", "logprobs"},
      {R"("logprobs": 1.5)", 400, "invalid_value", "logprobs"},
      {R"("echo": 1)", 400, "invalid_value", "echo"},
      {R"("top_logprobs": 1)", 400, "unsupported_field", "top_logprobs"},
      {R"("add_generation_prompt": false)", 400, "unsupported_field", "add_generation_prompt"},
      {R"("continue_final_message": true)", 400, "unsupported_field", "continue_final_message"},
  };
  const std::vector<Refusal> chat = {
      {R"("logprobs": 1)", 400, "invalid_value", "logprobs"},
      {R"("logprobs": true, "top_logprobs": -1)", 400, "invalid_value", "top_logprobs"},
      {R"("logprobs": true, "top_logprobs": 21)", 400, "invalid_value", "top_logprobs"},
      {R"("logprobs": true, "top_logprobs": true)", 400, "invalid_value", "top_logprobs"},
      {R"("top_logprobs": 1)", 400, "invalid_value", "top_logprobs"},
      {R"("logprobs": false, "top_logprobs": 1)", 400, "invalid_value", "top_logprobs"},
      {R"("echo": true)", 400, "unsupported_field", "echo"},
      {R"("add_generation_prompt": 1)", 400, "invalid_value", "add_generation_prompt"},
      {R"("continue_final_message": "x")", 400, "invalid_value", "continue_final_message"},
      {R"("continue_final_message": true, "add_generation_prompt": true)", 400, "invalid_value",
       "continue_final_message"},
  };
  for (const Refusal& one : completion) expect_refused(Api::completion, text_with(one.fields), one);
  for (const Refusal& one : chat) expect_refused(Api::chat, chat_with(one.fields), one);
}

TEST(GenerationRequest, TakesAtMostSoManyBiases) {
  RequestBounds large = bounds();
  large.vocab_size = 32000;
  const auto outcome = [&](int count) {
    std::string biases;
    for (int i = 0; i < count; ++i) biases += (i == 0 ? "\"" : ", \"") + std::to_string(i) + "\": 1";
    auto object = read_body_object(text_with("\"logit_bias\": {" + biases + "}"));
    return read_generation_request(Api::completion, std::get<boost::json::object>(object), large);
  };
  EXPECT_EQ(std::get<GenerationRequest>(outcome(1024)).logit_bias.size(), 1024u);
  EXPECT_EQ(std::get<ApiError>(outcome(1025)).param, "logit_bias");
}

TEST(GenerationRequest, RefusesKnownFieldsThatItDoesNotActOn) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"best_of", "2"},
      {"suffix", R"("a")"},
      {"tools", R"([{"type": "function"}])"},
      {"tool_choice", R"("required")"},
      {"functions", "[1]"},
      {"response_format", R"({"type": "json_object"})"},
      {"response_format", R"({"type": "json_schema", "json_schema": {}})"},
      {"modalities", R"(["audio"])"},
      {"audio", "{}"},
      {"chat_template", R"("{{ x }}")"},
      {"guided_json", "{}"},
      {"regex", R"("a+")"},
      {"json_schema", R"("{}")"},
      {"ebnf", R"("root ::= a")"},
      {"grammar", R"("root ::= a")"},
      {"logits_processors", R"(["a"])"},
      {"truncate_prompt_tokens", "5"},
      {"use_beam_search", "true"},
      {"store", "true"},
      {"reasoning_effort", R"("low")"},
      {"verbosity", R"("high")"},
      {"service_tier", R"("flex")"},
      {"moderation", "{}"},
  };
  for (const auto& [field, value] : cases) {
    const std::string pair = "\"" + field + "\": " + value;
    const Refusal wanted{pair, 400, "unsupported_field", field};
    expect_refused(Api::completion, text_with(pair), wanted);
    expect_refused(Api::chat, chat_with(pair), wanted);
  }
}

TEST(GenerationRequest, TakesNeutralValuesNullsAndUnknownFields) {
  const std::string neutral =
      R"("n": 1, "best_of": 1, "logprobs": null, "top_logprobs": 0, "echo": false, "suffix": null, "logit_bias": {},
         "presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_tokens": 0, "tools": [],
         "tool_choice": "none", "response_format": {"type": "text"}, "temperature": null, "max_tokens": null,
         "stop": null, "stream": null, "stream_options": null, "seed": null, "user": "u", "kv_budget": null,
         "compression": null, "model": null, "parallel_tool_calls": true, "store": false,
         "service_tier": "default", "made_up": {"a": [1]}})";
  for (const Api api : {Api::completion, Api::chat}) {
    const auto outcome = read(api, api == Api::chat ? kChat + ", " + neutral : kText + ", " + neutral);
    const auto* request = std::get_if<GenerationRequest>(&outcome);
    ASSERT_NE(request, nullptr) << std::get<ApiError>(outcome).message;
    EXPECT_EQ(request->unknown_fields, std::vector<std::string>{"made_up"});
    EXPECT_FALSE(request->max_tokens.has_value());
    EXPECT_EQ(request->sampling.temperature, 1.0f);
    EXPECT_EQ(request->sampling.top_p, 1.0f);
    EXPECT_EQ(request->sampling.top_k, 0);
    EXPECT_FALSE(request->has_seed);
    EXPECT_FALSE(request->stream);
    EXPECT_EQ(request->compression.mode, config::Mode::full);
    EXPECT_EQ(request->compression.budget, 1024);
    EXPECT_EQ(request->n, 1);
    EXPECT_EQ(request->logprobs, -1);
    EXPECT_FALSE(request->echo);
    EXPECT_TRUE(request->logit_bias.empty());
    EXPECT_EQ(request->sampling.repetition_penalty, 1.0f);
    EXPECT_EQ(request->min_tokens, 0);
    EXPECT_TRUE(request->skip_special_tokens);
    EXPECT_TRUE(request->chat_shape.add_generation_prompt);
    EXPECT_FALSE(request->chat_shape.continue_final_message);
  }
}

TEST(GenerationRequest, ReadsEveryField) {
  const auto outcome =
      read(Api::completion, text_with(R"("model": "m", "max_tokens": 10, "max_completion_tokens": 12.0,
      "temperature": 0, "top_p": 0.5, "top_k": 7, "min_p": 0.1, "seed": -3, "stop": ["a", "b"], "stop_token_ids": [5, 6],
      "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true},
      "kv_budget": 512, "compression": "decode", "n": 16, "logprobs": 20, "echo": true, "min_tokens": 4, "priority": -7,
      "logit_bias": {"0": -100, "99": 2.5}, "presence_penalty": -2, "frequency_penalty": 2, "repetition_penalty": 0.01,
      "skip_special_tokens": false)"));
  const auto* request = std::get_if<GenerationRequest>(&outcome);
  ASSERT_NE(request, nullptr) << std::get<ApiError>(outcome).message;
  EXPECT_EQ(request->max_tokens, 12);  // the newer name wins
  EXPECT_EQ(request->sampling.temperature, 0.0f);
  EXPECT_EQ(request->sampling.top_p, 0.5f);
  EXPECT_EQ(request->sampling.top_k, 7);
  EXPECT_EQ(request->sampling.min_p, 0.1f);
  EXPECT_TRUE(request->has_seed);
  EXPECT_EQ(request->sampling.seed, static_cast<uint64_t>(int64_t{-3}));
  EXPECT_EQ(request->stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request->stop_token_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_TRUE(request->ignore_eos);
  EXPECT_TRUE(request->stream);
  EXPECT_TRUE(request->include_usage);
  EXPECT_TRUE(request->continuous_usage);
  EXPECT_EQ(request->compression.mode, config::Mode::decode);
  EXPECT_EQ(request->compression.budget, 512);
  EXPECT_EQ(request->n, 16);
  EXPECT_EQ(request->logprobs, 20);
  EXPECT_TRUE(request->echo);
  EXPECT_EQ(request->min_tokens, 4);
  ASSERT_EQ(request->logit_bias.size(), 2u);
  EXPECT_EQ(request->logit_bias[0].id, 0);
  EXPECT_EQ(request->logit_bias[0].bias, -100.0f);
  EXPECT_EQ(request->logit_bias[1].id, 99);
  EXPECT_EQ(request->logit_bias[1].bias, 2.5f);
  EXPECT_EQ(request->sampling.presence_penalty, -2.0f);
  EXPECT_EQ(request->sampling.frequency_penalty, 2.0f);
  EXPECT_EQ(request->sampling.repetition_penalty, 0.01f);
  EXPECT_FALSE(request->skip_special_tokens);
  EXPECT_TRUE(request->unknown_fields.empty());
}

TEST(GenerationRequest, ReadsWhatChatsAloneHave) {
  const auto request = std::get<GenerationRequest>(
      read(Api::chat, chat_with(R"("logprobs": true, "top_logprobs": 20, "continue_final_message": true)")));
  EXPECT_EQ(request.logprobs, 20);
  EXPECT_TRUE(request.chat_shape.continue_final_message);
  EXPECT_FALSE(request.chat_shape.add_generation_prompt);
  EXPECT_EQ(std::get<GenerationRequest>(read(Api::chat, chat_with(R"("logprobs": true)"))).logprobs, 0);
  EXPECT_EQ(std::get<GenerationRequest>(read(Api::chat, chat_with(R"("logprobs": false)"))).logprobs, -1);
  EXPECT_EQ(std::get<GenerationRequest>(read(Api::completion, text_with(R"("logprobs": false)"))).logprobs,
            -1);
  EXPECT_FALSE(std::get<GenerationRequest>(read(Api::chat, chat_with(R"("add_generation_prompt": false)")))
                   .chat_shape.add_generation_prompt);
}

TEST(GenerationRequest, ATinyTopPStaysAboveZero) {
  EXPECT_GT(
      std::get<GenerationRequest>(read(Api::completion, text_with(R"("top_p": 1e-300)"))).sampling.top_p,
      0.0f);
}

TEST(GenerationRequest, TurnsTopKMinusOneOff) {
  EXPECT_EQ(std::get<GenerationRequest>(read(Api::completion, text_with(R"("top_k": -1)"))).sampling.top_k,
            0);
}

TEST(GenerationRequest, NamesTheLeastBudgetThatWorks) {
  for (const char* budget : {"8", "5", "0", "-1"}) {
    const auto outcome = read(Api::completion, text_with(std::string("\"kv_budget\": ") + budget));
    const auto& error = std::get<ApiError>(outcome);
    EXPECT_NE(error.message.find("least that works here is 9"), std::string::npos) << error.message;
  }
  for (const char* budget : {"4097", "1.5", "\"512\"", "-9223372036854775808", "1e15"}) {
    const auto outcome = read(Api::completion, text_with(std::string("\"kv_budget\": ") + budget));
    const auto& error = std::get<ApiError>(outcome);
    EXPECT_EQ(error.message, "kv_budget must be an integer from 9 to 4096.");
  }
}

TEST(GenerationRequest, TakesAnyBudgetWithCompressionOff) {
  const auto outcome = read(Api::completion, text_with(R"("kv_budget": 5, "compression": "off")"));
  EXPECT_EQ(std::get<GenerationRequest>(outcome).compression.mode, config::Mode::off);
}

TEST(GenerationRequest, TakesPromptsInFourShapes) {
  const auto prompts = [](const std::string& prompt) {
    return std::get<GenerationRequest>(read(Api::completion, "{\"prompt\": " + prompt + "}")).prompts;
  };
  EXPECT_EQ(prompts(R"("a")"), std::vector<Prompt>{std::string("a")});
  EXPECT_EQ(prompts(R"(["a", "b"])"), (std::vector<Prompt>{std::string("a"), std::string("b")}));
  EXPECT_EQ(prompts("[1, 2]"), std::vector<Prompt>{(std::vector<int32_t>{1, 2})});
  EXPECT_EQ(prompts("[[1, 2], [3]]"),
            (std::vector<Prompt>{std::vector<int32_t>{1, 2}, std::vector<int32_t>{3}}));
}

TEST(GenerationRequest, RefusesOtherPrompts) {
  std::string many = "\"a\"";
  for (int i = 0; i < 128; ++i) many += ", \"a\"";
  const std::string bodies[] = {"{}",
                                R"({"prompt": null})",
                                R"({"prompt": 5})",
                                R"({"prompt": []})",
                                R"({"prompt": [[]]})",
                                R"({"prompt": [1, "a"]})",
                                R"({"prompt": ["a", 1]})",
                                R"({"prompt": [[1], 2]})",
                                R"({"prompt": [100]})",
                                R"({"prompt": [-1]})",
                                R"({"prompt": [1.5]})",
                                R"({"prompt": [[1], ["a"]]})",
                                R"({"prompt": {"a": 1}})",
                                "{\"prompt\": [" + many + "]}"};
  for (const std::string& body : bodies) {
    expect_refused(Api::completion, body, {"", 400, "invalid_value", "prompt"});
  }
}

TEST(GenerationRequest, RefusesMalformedMessages) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({})", "messages"},
      {R"({"messages": []})", "messages"},
      {R"({"messages": "hi"})", "messages"},
      {R"({"messages": ["hi"]})", "messages[0]"},
      {R"({"messages": [{"content": "hi"}]})", "messages[0].role"},
      {R"({"messages": [{"role": 5, "content": "hi"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "user"}]})", "messages[1].content"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})", "messages[0].content"},
  };
  for (const auto& [body, param] : cases) expect_refused(Api::chat, body, {"", 400, "invalid_value", param});
  expect_refused(Api::chat, R"({"messages": [{"role": "assistant", "content": null, "tool_calls": [1]}]})",
                 {"", 400, "unsupported_field", "messages[0].tool_calls"});
}

TEST(GenerationRequest, BringsMessagesToOneShape) {
  const auto outcome = read(Api::chat, R"({"messages": [
      {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n"},
      {"role": "assistant", "content": null, "tool_calls": null}]})");
  const auto& messages = std::get<GenerationRequest>(outcome).messages;
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].at("content"), "a\nb");
  EXPECT_EQ(messages[0].at("name"), "n");
  EXPECT_EQ(messages[1].at("content"), "");
}

TEST(RequestBody, IsStrictJson) {
  for (const std::string body :
       {"", "{", "[]", "5", "{\"a\": 1,}", "{\"a\": 1} x", "{\"a\": 1, \"a\": 2}", "{\"a\": 1e400}",
        "{\"a\": NaN}", "{'a': 1}", "{\"a\": \"\xff\"}", "{\"a\": -Infinity}"}) {
    const auto outcome = read_body_object(body);
    const auto* error = std::get_if<ApiError>(&outcome);
    ASSERT_NE(error, nullptr) << body;
    EXPECT_EQ(error->status, 400);
    EXPECT_EQ(error->code, "invalid_json");
  }
  const std::string deep = "{\"a\": " + std::string(200, '[') + std::string(200, ']') + "}";
  EXPECT_TRUE(std::holds_alternative<ApiError>(read_body_object(deep)));
}

}  // namespace
}  // namespace batchmax::coordinator
