// Completions over HTTP: the shapes of answers and streams, and what becomes of requests whose client or
// cluster fails.
#include <algorithm>
#include <boost/json/array.hpp>

#include "tests/coordinator/gateway/completion_fixture.h"

namespace batchmax::coordinator {
namespace {

TEST_F(Completion, AnswersWhole) {
  start();
  const ClientAnswer answer =
      post("/v1/completions", R"({"model": "m", "prompt": [5, 6, 7, 8], "max_tokens": 3})");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto json = answer.json();
  EXPECT_EQ(json.at("object"), "text_completion");
  EXPECT_EQ(json.at("model"), "m");
  EXPECT_TRUE(json.at("id").as_string().starts_with("cmpl-"));
  ASSERT_EQ(json.at("choices").as_array().size(), 1u);
  const auto& choice = json.at("choices").at(0);
  EXPECT_EQ(choice.at("index"), 0);
  EXPECT_EQ(choice.at("text").as_string(), text_of({1000, 1001, 1002}));
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_EQ(json.at("usage").at("prompt_tokens"), 4);
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 3);
  EXPECT_EQ(json.at("usage").at("total_tokens"), 7);
  EXPECT_EQ(json.at("batchmax").at("kv_bytes_held"), 10);
  EXPECT_EQ(json.at("batchmax").at("kv_bytes_peak"), 20);
  EXPECT_EQ(json.at("batchmax").at("tokens_evicted"), 3);
  EXPECT_EQ(json.at("batchmax").at("kv_bytes_reserved"), 64 * 1000);  // one page of 64 slots
  EXPECT_EQ(json.at("batchmax").at("compression"), "full");
}

TEST_F(Completion, CountsTheIdThatEndedIt) {
  backend_.script = [](const TokenRequest&) { return answer({1000}, FinishReason::stop); };
  start();
  const auto json = post("/v1/completions", R"({"prompt": [5]})").json();
  EXPECT_EQ(json.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 2);
}

TEST_F(Completion, PassesTheRequestOn) {
  start();
  ASSERT_EQ(post("/v1/completions",
                 R"({"prompt": [5, 6], "max_tokens": 9, "temperature": 0.5, "top_p": 0.25, "top_k": 3,
      "min_p": 0.125, "seed": 77, "stop_token_ids": [50], "kv_budget": 512, "compression": "decode"})")
                .status,
            200);
  ASSERT_EQ(post("/v1/completions", R"({"prompt": [5], "ignore_eos": true, "seed": 77})").status, 200);
  ASSERT_EQ(post("/v1/completions", R"({"prompt": [5]})").status, 200);
  const auto requests = backend_.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].tokens, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(requests[0].max_tokens, 9);
  EXPECT_EQ(requests[0].sampling.temperature, 0.5f);
  EXPECT_EQ(requests[0].sampling.top_p, 0.25f);
  EXPECT_EQ(requests[0].sampling.top_k, 3);
  EXPECT_EQ(requests[0].sampling.min_p, 0.125f);
  EXPECT_EQ(requests[0].sampling.seed, 77u);
  EXPECT_EQ(requests[0].stop_ids, (std::vector<int32_t>{50, 0, 2}));
  EXPECT_EQ(requests[0].compression.mode, config::Mode::decode);
  EXPECT_EQ(requests[0].compression.budget, 512);
  EXPECT_TRUE(requests[1].stop_ids.empty());
  EXPECT_EQ(requests[1].max_tokens, 16);  // OpenAI's default
  EXPECT_NE(requests[2].sampling.seed, 77u);
  EXPECT_EQ(requests[2].stop_ids, (std::vector<int32_t>{0, 2}));
}

TEST_F(Completion, AnswersSeveralPromptsInOrder) {
  backend_.script = [](const TokenRequest& request) {
    return answer({request.tokens[0] + 1000, request.tokens[0] + 1001}, FinishReason::length);
  };
  start();
  const auto json = post("/v1/completions", R"({"prompt": [[10], [20, 21], [30]]})").json();
  ASSERT_EQ(json.at("choices").as_array().size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(json.at("choices").at(i).at("index"), i);
    EXPECT_EQ(json.at("choices").at(i).at("text").as_string(),
              text_of({10 * (i + 1) + 1000, 10 * (i + 1) + 1001}));
  }
  EXPECT_EQ(json.at("usage").at("prompt_tokens"), 4);
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 6);
}

TEST_F(Completion, StreamsOneChunkPerToken) {
  start();
  const ClientAnswer answer = stream("");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.fields.at("content-type").starts_with("text/event-stream"));
  const auto events = answer.events();
  ASSERT_EQ(events.size(), 5u) << answer.body;  // three tokens, the end, [DONE]
  std::string text;
  for (int i = 0; i < 4; ++i) {
    const auto chunk = parse(events[static_cast<size_t>(i)]);
    EXPECT_EQ(chunk.at("object"), "text_completion");
    EXPECT_EQ(chunk.at("id"), parse(events[0]).at("id"));
    text += chunk.at("choices").at(0).at("text").as_string();
    EXPECT_EQ(chunk.at("choices").at(0).at("finish_reason").is_null(), i < 3);
    EXPECT_FALSE(chunk.as_object().contains("usage"));
  }
  EXPECT_EQ(text, text_of({1000, 1001, 1002}));
  EXPECT_EQ(parse(events[3]).at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(parse(events[3]).at("batchmax").at("kv_bytes_peak"), 20);
  EXPECT_EQ(events[4], "[DONE]");
}

TEST_F(Completion, StreamsUsageWhereAsked) {
  start();
  const auto events = stream(R"("stream_options": {"include_usage": true})").events();
  ASSERT_EQ(events.size(), 6u);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(parse(events[i]).at("usage").is_null());
  const auto last = parse(events[4]);
  EXPECT_TRUE(last.at("choices").as_array().empty());
  EXPECT_EQ(last.at("usage").at("prompt_tokens"), 3);
  EXPECT_EQ(last.at("usage").at("completion_tokens"), 3);
  EXPECT_EQ(last.at("batchmax").at("kv_bytes_held"), 10);
  EXPECT_EQ(events[5], "[DONE]");
}

TEST_F(Completion, StreamsRunningUsageWhereAsked) {
  start();
  const auto events = stream(R"("stream_options": {"continuous_usage_stats": true})").events();
  ASSERT_EQ(events.size(), 5u);
  // Each chunk counts up to itself, however many came at once.
  for (int i = 0; i < 4; ++i) {
    const auto usage = parse(events[static_cast<size_t>(i)]).at("usage");
    EXPECT_EQ(usage.at("completion_tokens"), std::min(i + 1, 3));
    EXPECT_EQ(usage.at("total_tokens"), 3 + std::min(i + 1, 3));
  }
}

TEST_F(Completion, NeedsAChatTemplateForChat) {
  start();
  const auto answer = post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}]})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.error_code(), "no_chat_template");
}

TEST_F(Completion, CutsAtStopStringsAndStopsTheRequest) {
  // Ids of a text that is known, so that the stop string lies across tokens.
  const auto ids = tokenizer().encode("The house stood on a hill, alone.", false);
  backend_.script = [ids](const TokenRequest&) {
    std::deque<TokenEvent> events;
    for (const int32_t id : ids) events.push_back(TokenChunk{{id}});
    return events;  // never ends by itself
  };
  start();
  const auto json = post("/v1/completions", R"({"prompt": [5], "stop": ["nowhere", " on a h"]})").json();
  EXPECT_EQ(json.at("choices").at(0).at("text"), "The house stood");
  EXPECT_EQ(json.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_TRUE(eventually([&] { return backend_.stopped == 1 && backend_.open == 0; }));
  EXPECT_EQ(backend_.abandoned, 0);

  std::string streamed;
  const auto events = stream(R"("stop": " on a h")").events();
  for (size_t i = 0; i + 1 < events.size(); ++i)
    streamed += parse(events[i]).at("choices").at(0).at("text").as_string();
  EXPECT_EQ(streamed, "The house stood");
  EXPECT_EQ(events.back(), "[DONE]");
}

TEST_F(Completion, SendsHeldBackTextAtTheEnd) {
  const auto ids = tokenizer().encode("The house stood on", false);
  backend_.script = [ids](const TokenRequest&) { return answer(ids, FinishReason::length); };
  start();
  const auto json = post("/v1/completions", R"({"prompt": [5], "stop": "on a hill"})").json();
  EXPECT_EQ(json.at("choices").at(0).at("text"), "The house stood on");
  EXPECT_EQ(json.at("choices").at(0).at("finish_reason"), "length");
}

TEST_F(Completion, RefusesWhatIsLongerThanTheModel) {
  start();
  std::string ids = "5";
  for (int i = 1; i < 4000; ++i) ids += ",5";
  for (const std::string& body :
       {"{\"prompt\": [" + ids + "], \"max_tokens\": 97}", "{\"prompt\": [" + ids + "," + ids + "]}",
        std::string("{\"prompt\": \"hi\", \"max_tokens\": 4096}")}) {
    const auto answer = post("/v1/completions", body);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.error_code(), "context_length_exceeded");
    EXPECT_TRUE(answer.json().at("error").at("message").as_string().starts_with(
        "This model's maximum context length is 4096 tokens"));
  }
  EXPECT_EQ(post("/v1/completions", "{\"prompt\": [" + ids + "], \"max_tokens\": 96}").status, 200);
}

TEST_F(Completion, RefusesPromptsWithoutTokens) {
  start();
  EXPECT_EQ(post("/v1/completions", R"({"prompt": ""})").status, 400);
}

TEST_F(Completion, PassesRejectionsOn) {
  struct Case {
    Rejection::Kind kind;
    int status;
    std::string code;
  };
  const Case cases[] = {{Rejection::Kind::queue_full, 503, "queue_full"},
                        {Rejection::Kind::no_group, 503, "no_group"},
                        {Rejection::Kind::draining, 503, "draining"},
                        {Rejection::Kind::never_fits, 400, "kv_memory_exceeded"}};
  start();
  for (const Case& one : cases) {
    run_on_loop([&] { backend_.rejection = Rejection{one.kind, "why"}; });
    for (const char* body : {R"({"prompt": [5]})", R"({"prompt": [5], "stream": true})"}) {
      const auto answer = post("/v1/completions", body);
      EXPECT_EQ(answer.status, one.status);
      EXPECT_EQ(answer.error_code(), one.code);
      EXPECT_EQ(answer.json().at("error").at("message"), "why");
      EXPECT_EQ(answer.fields.contains("retry-after"), one.status == 503);
    }
  }
}

TEST_F(Completion, MoreChoicesThanCouldEverRunAndWaitAreNotAskedToComeBack) {
  settings_.max_num_seqs = 2;
  settings_.max_num_queued_reqs = 3;
  backend_.facts.capacity_pages = 100;
  backend_.rejection = Rejection{Rejection::Kind::queue_full, "why"};
  start();
  EXPECT_EQ(post("/v1/completions", R"({"prompt": ["a", "b", "c", "d", "e"]})").error_code(), "queue_full");
  const auto many_prompts = post("/v1/completions", R"({"prompt": ["a", "b", "c", "d", "e", "f"]})");
  EXPECT_EQ(many_prompts.status, 400);
  EXPECT_EQ(many_prompts.json().at("error").at("param"), "prompt");
  const auto many_choices = post("/v1/completions", R"({"prompt": ["a", "b"], "n": 3})");
  EXPECT_EQ(many_choices.status, 400);
  EXPECT_EQ(many_choices.json().at("error").at("param"), "n");
  const std::string why(many_choices.json().at("error").at("message").as_string());
  EXPECT_NE(why.find("6 choices, n for each prompt; at most 5"), std::string::npos) << why;
  // Each takes 63 pages of 100: one runs.
  const std::string wide = R"("max_tokens": 4000, "compression": "off", "n": )";
  EXPECT_EQ(post("/v1/completions", "{\"prompt\": \"a\", " + wide + "4}").error_code(), "queue_full");
  EXPECT_EQ(post("/v1/completions", "{\"prompt\": \"a\", " + wide + "5}").error_code(), "invalid_value");
}

TEST_F(Completion, SaysSoBeforeTheModelIsThere) {
  backend_.has_model = false;
  start();
  const auto answer = post("/v1/completions", R"({"prompt": [5]})");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.error_code(), "no_group");
  EXPECT_TRUE(get("/v1/models").json().at("data").at(0).at("max_model_len").is_null());
}

TEST_F(Completion, ReportsAFailureHonestly) {
  backend_.script = [](const TokenRequest&) {
    std::deque<TokenEvent> events{TokenChunk{{1000}}};
    TokenEnd end;
    end.reason = FinishReason::error;
    end.error = "the group died";
    events.push_back(end);
    return events;
  };
  start();
  const auto whole = post("/v1/completions", R"({"prompt": [5]})");
  EXPECT_EQ(whole.status, 500);
  EXPECT_EQ(whole.json().at("error").at("message"), "the group died");

  HttpClient client(port_);
  client.post("/v1/completions", R"({"prompt": [5], "stream": true})");
  const auto streamed = client.read();
  const auto events = streamed.events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(parse(events[1]).at("error").at("message"), "the group died");
  EXPECT_EQ(streamed.body.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(client.at_end());
}

TEST_F(Completion, FailsAsAWholeWhenOneChoiceFails) {
  backend_.script = [](const TokenRequest& request) {
    if (request.tokens[0] == 1) return std::deque<TokenEvent>{TokenChunk{{1000}}};  // never ends
    TokenEnd end;
    end.reason = FinishReason::error;
    end.error = "the group died";
    return std::deque<TokenEvent>{end};
  };
  start();
  EXPECT_EQ(post("/v1/completions", R"({"prompt": [[1], [2]]})").status, 500);
  EXPECT_TRUE(eventually([&] { return backend_.open == 0; }));
}

TEST_F(Completion, CancelsWhatAClientLeaves) {
  backend_.script = [](const TokenRequest&) {
    return std::deque<TokenEvent>{TokenChunk{{1000}}};
  };  // never ends
  start();
  int rounds = 0;
  for (const char* body :
       {R"({"prompt": [5]})", R"({"prompt": [5], "stream": true})", R"({"prompt": [[5], [6], [7]]})"}) {
    HttpClient client(port_);
    client.post("/v1/completions", body);
    EXPECT_TRUE(eventually([&] { return backend_.open > 0; }));
    client.leave();
    EXPECT_TRUE(eventually([&] { return backend_.open == 0; })) << body;
    EXPECT_GT(backend_.abandoned, rounds);
    rounds = backend_.abandoned;
  }
}

TEST_F(Completion, AbortsAStreamThatIsNotRead) {
  settings_.stream_stall_timeout = 0.05;
  backend_.script = [](const TokenRequest&) {
    std::deque<TokenEvent> events;
    for (int i = 0; i < 2000; ++i) events.push_back(TokenChunk{std::vector<int32_t>(50, 1000)});
    return events;  // 100,000 chunks, far more than the sockets hold; never ends
  };
  start();
  HttpClient client(port_, 4096);
  client.post("/v1/completions", R"({"prompt": [5], "stream": true})");
  EXPECT_TRUE(eventually([&] { return backend_.submitted == 1 && backend_.open == 0; }));
  EXPECT_EQ(backend_.abandoned, 1);
  EXPECT_EQ(get("/livez").status, 200);
}

TEST_F(Completion, PingsASilentStream) {
  settings_.ping_interval = 0.02;
  backend_.script = [](const TokenRequest&) { return std::deque<TokenEvent>{}; };
  start();
  HttpClient client(port_);
  client.post("/v1/completions", R"({"prompt": [5], "stream": true})");
  const std::string bytes = client.wait_for(": ping\n\n");
  EXPECT_EQ(bytes.find("data:"), std::string::npos);
}

TEST_F(Completion, GivesIdsWithoutATokenizer) {
  start({});
  const auto json = post("/v1/completions", R"({"prompt": [5]})").json();
  EXPECT_EQ(json.at("choices").at(0).at("text"), "");
  EXPECT_EQ(json.at("choices").at(0).at("token_ids"), (boost::json::array{1000, 1001, 1002}));
  const auto events = stream("").events();
  EXPECT_EQ(parse(events[1]).at("choices").at(0).at("token_ids"), boost::json::array{1001});
  for (const char* body : {R"({"prompt": "text"})", R"({"prompt": [5], "stop": "a"})"}) {
    EXPECT_EQ(post("/v1/completions", body).error_code(), "no_tokenizer") << body;
  }
  EXPECT_EQ(post("/tokenize", R"({"prompt": "text"})").error_code(), "no_tokenizer");
}

TEST_F(Completion, KeepsTheConnectionAfterAStream) {
  start();
  HttpClient client(port_);
  for (int i = 0; i < 3; ++i) {
    client.post("/v1/completions", R"({"prompt": [5], "stream": true})");
    EXPECT_EQ(client.read().events().back(), "[DONE]");
  }
}

TEST_F(Completion, EndsStreamsOfHttp10WithTheConnection) {
  start();
  HttpClient client(port_);
  const std::string body = R"({"prompt": [5], "stream": true})";
  client.send(
      "POST /v1/completions HTTP/1.0\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto answer = client.read();
  EXPECT_FALSE(answer.fields.contains("transfer-encoding"));
  EXPECT_EQ(answer.events().back(), "[DONE]");
}

TEST_F(Completion, EndsWhatRunsWhenItCloses) {
  backend_.script = [](const TokenRequest&) {
    return std::deque<TokenEvent>{TokenChunk{{1000}}};
  };  // never ends
  start();
  HttpClient streaming(port_), waiting(port_), idle(port_);
  streaming.post("/v1/completions", R"({"prompt": [5], "stream": true})");
  streaming.wait_for("data: ");
  waiting.post("/v1/completions", R"({"prompt": [5]})");
  EXPECT_TRUE(eventually([&] { return backend_.open == 2; }));
  run_on_loop([&] { gateway_->drain(); });
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_TRUE(eventually([&] {
    int32_t open = 0;
    run_on_loop([&] { open = gateway_->requests_open(); });
    return open == 2;
  }));
  close();
  EXPECT_EQ(backend_.open, 0);
  EXPECT_EQ(waiting.read().status, 503);
  const auto events = streaming.read().events();
  EXPECT_EQ(parse(events.back()).at("error").at("code"), "draining");
  EXPECT_TRUE(idle.at_end());
}

TEST_F(Completion, FinishesWhatRunsWhileItDrains) {
  backend_.pace = std::chrono::milliseconds(20);
  start();
  HttpClient client(port_);
  client.post("/v1/completions", R"({"prompt": [5], "stream": true})");
  EXPECT_TRUE(eventually([&] { return backend_.submitted == 1; }));
  run_on_loop([&] { gateway_->drain(); });
  EXPECT_EQ(client.read().events().back(), "[DONE]");
  EXPECT_TRUE(client.at_end());
}

}  // namespace
}  // namespace batchmax::coordinator
