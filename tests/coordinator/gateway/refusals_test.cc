// The table of bad input: what a client may send that is not taken, each with the exact status, error.code
// and error.param that it gets, over a real socket, from a gateway with its default limits.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <list>
#include <set>

#include "coordinator/text/chat_template.h"
#include "tests/coordinator/gateway/gateway_fixture.h"

namespace batchmax::coordinator {
namespace {

struct Row {
  std::string what;
  std::string bytes;  // a whole request
  int status;
  std::string code;
  std::string param = "";  // empty: null
};

std::string request(const std::string& line, const std::string& fields = "", const std::string& body = "") {
  return line + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body;
}
std::string json(const std::string& path, const std::string& body) {
  return request("POST " + path,
                 "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n",
                 body);
}
std::string complete(const std::string& fields) {
  return json("/v1/completions", R"({"prompt": "hi", )" + fields + "}");
}
std::string chat(const std::string& fields) {
  return json("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}], )" + fields + "}");
}
std::string repeat(int count, const std::string& item) {
  std::string list = item;
  for (int i = 1; i < count; ++i) list += "," + item;
  return list;
}

class Refusals : public GatewayTest {
 protected:
  void start_with_chat() {
    chat_template_.emplace(ChatTemplate::load(std::string(BATCHMAX_SOURCE_DIR) + "/demo/longbook-17m", ""));
    start({&tokenizer(), &*chat_template_});
  }
  // One connection a row; everything in an answer that a client could match on.
  void expect_each(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      HttpClient client(port_);
      client.send(row.bytes);
      const ClientAnswer answer = client.read();
      ASSERT_EQ(answer.status, row.status) << row.what << ": " << answer.body;
      const auto error = answer.json().at("error");
      EXPECT_EQ(answer.error_code(), row.code) << row.what << ": " << answer.body;
      EXPECT_EQ(error.at("param").is_null() ? "" : std::string(error.at("param").as_string()), row.param)
          << row.what;
      const char* type = row.status == 401   ? "authentication_error"
                         : row.status >= 500 ? "server_error"
                                             : "invalid_request_error";
      EXPECT_EQ(error.at("type"), type) << row.what;
      const std::string message(error.at("message").as_string());
      EXPECT_THAT(message, testing::HasSubstr(row.param)) << row.what;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      EXPECT_EQ(answer.fields.contains("retry-after"), row.status == 503) << row.what;
      EXPECT_FALSE(answer.fields.at("x-request-id").empty());
      EXPECT_THAT(answer.fields.at("content-type"), testing::StartsWith("application/json"));
    }
    EXPECT_EQ(get("/livez").status, 200);
  }

  std::optional<ChatTemplate> chat_template_;
};

TEST_F(Refusals, OfFramingSizesMethodsPathsAndTypes) {
  start_with_chat();
  const std::string post = "POST /v1/completions", type = "Content-Type: application/json\r\n";
  expect_each({
      {"chunked", request(post, type + "Transfer-Encoding: chunked\r\n"), 411, "length_required"},
      {"no length", request(post, type), 411, "length_required"},
      {"two lengths", request(post, type + "Content-Length: 2\r\nContent-Length: 2\r\n", "{}"), 400,
       "bad_request"},
      {"signed length", request(post, type + "Content-Length: +2\r\n", "{}"), 400, "bad_request"},
      {"no host", "GET /livez HTTP/1.1\r\n\r\n", 400, "bad_request"},
      {"two hosts", request("GET /livez", "Host: b\r\n"), 400, "bad_request"},
      {"folded field", request("GET /livez", "X: a\r\n b\r\n"), 400, "bad_request"},
      {"bare line feed", "GET /livez HTTP/1.1\nHost: a\r\n\r\n", 400, "bad_request"},
      {"null byte", request("GET /livez", std::string("X: \0\r\n", 6)), 400, "bad_request"},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\n", 505, "http_version"},
      {"unknown expectation", request(post, type + "Expect: tea\r\nContent-Length: 2\r\n"), 417,
       "expectation_failed"},
      {"header of more than 16 KiB", request("GET /livez", "X: " + std::string(16 * 1024, 'a') + "\r\n"), 431,
       "header_too_large"},
      {"101 fields",
       request(
           "GET /livez", "X: a\r\n" +
                             [] {
                               std::string fields;
                               for (int i = 0; i < 99; ++i) fields += "X: a\r\n";
                               return fields;
                             }()),
       431, "header_too_large"},
      {"body of more than 4 MiB", request(post, type + "Content-Length: 4194305\r\n"), 413, "body_too_large"},
      {"body without a type", request(post, "Content-Length: 2\r\n", "{}"), 415, "unsupported_media_type"},
      {"form",
       request(post, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n", "{}"), 415,
       "unsupported_media_type"},
      {"a type that only begins so",
       request(post, "Content-Type: application/json5\r\nContent-Length: 2\r\n", "{}"), 415,
       "unsupported_media_type"},
      {"compressed body", request(post, type + "Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"), 415,
       "unsupported_media_type"},
      {"get with a body", request("GET /livez", "Content-Length: 2\r\n", "{}"), 400, "bad_request"},
      {"unknown path", request("GET /v2/models"), 404, "not_found"},
      {"path of OpenAI's that is not there", json("/v1/embeddings", "{}"), 404, "not_found"},
      {"path with a slash more", request("GET /v1/models/"), 404, "not_found"},
      {"path out of the page", request("GET /page/../../etc/passwd"), 404, "not_found"},
      {"escaped path", request("GET /%76%31/models"), 404, "not_found"},
      {"get of a completion", request("GET /v1/completions"), 405, "method_not_allowed"},
      {"post to a probe", json("/health", "{}"), 405, "method_not_allowed"},
      {"delete", request("DELETE /v1/models"), 405, "method_not_allowed"},
      {"options", request("OPTIONS /v1/completions"), 405, "method_not_allowed"},
      {"put", request("PUT /v1/models"), 405, "method_not_allowed"},
  });
}

TEST_F(Refusals, OfJson) {
  start_with_chat();
  std::vector<Row> rows;
  const std::vector<std::pair<std::string, std::string>> bodies = {
      {"empty", ""},
      {"cut off", R"({"prompt": "a)"},
      {"a list", "[]"},
      {"a number", "5"},
      {"null", "null"},
      {"two values", "{} {}"},
      {"a comma too many", R"({"prompt": "a",})"},
      {"a duplicate key", R"({"prompt": "a", "max_tokens": 1, "max_tokens": 2})"},
      {"a duplicate key inside", R"({"prompt": "a", "logit_bias": {"5": 1, "5": 2}})"},
      {"a duplicate key, spelt otherwise", R"({"prompt": "a", "prom\u0070t": "b"})"},
      {"1e400", R"({"prompt": "a", "temperature": 1e400})"},
      {"-1e400", R"({"prompt": "a", "temperature": -1e400})"},
      {"NaN", R"({"prompt": "a", "temperature": NaN})"},
      {"Infinity", R"({"prompt": "a", "temperature": Infinity})"},
      {"a leading zero", R"({"prompt": "a", "max_tokens": 01})"},
      {"a comment", R"({"prompt": "a" /* b */})"},
      {"invalid UTF-8", "{\"prompt\": \"a\xff\"}"},
      {"overlong UTF-8", "{\"prompt\": \"a\xc0\xaf\"}"},
      {"a raw surrogate", "{\"prompt\": \"a\xed\xa0\x80\"}"},
      {"an escaped surrogate alone", R"({"prompt": "a\ud800"})"},
      {"an escaped surrogate before a letter", R"({"prompt": "a\ud800b"})"},
      {"a low surrogate first", R"({"prompt": "a\udc00\ud800"})"},
      {"a raw control character", "{\"prompt\": \"a\nb\"}"},
      {"an unknown escape", R"({"prompt": "\x41"})"},
      {"depth", "{\"prompt\": " + std::string(100000, '[') + std::string(100000, ']') + "}"},
      {"depth of objects",
       [] {
         std::string deep;
         for (int i = 0; i < 50000; ++i) deep += "{\"a\":";
         return deep;
       }()},
  };
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    for (const auto& [what, body] : bodies)
      rows.push_back({what + " at " + path, json(path, body), 400, "invalid_json"});
  }
  expect_each(rows);
}

TEST_F(Refusals, OfFieldsOutOfRange) {
  start_with_chat();
  std::vector<Row> rows;
  const std::vector<std::pair<std::string, std::vector<std::string>>> both = {
      {"temperature", {"-0.001", "2.001", "\"1\"", "true", "[]"}},
      {"top_p", {"0", "-1", "1.001"}},
      {"top_k", {"-2", "0.5", "2147483648"}},
      {"min_p", {"-0.001", "1.001"}},
      {"n", {"0", "17", "-1", "1.5", "99999999999999999999"}},
      {"seed", {"1.5", "\"7\"", "9223372036854775808"}},
      {"max_tokens", {"0", "-1", "2147483648", "1e30", "false"}},
      {"max_completion_tokens", {"0", "2147483648"}},
      {"min_tokens", {"-1", "2147483648"}},
      {"presence_penalty", {"-2.001", "2.001"}},
      {"frequency_penalty", {"-2.001", "2.001"}},
      {"repetition_penalty", {"0", "0.009", "10.001"}},
      {"stop",
       {"\"\"", "[\"\"]", "5", "[5]", "[" + repeat(17, "\"a\"") + "]", "\"" + std::string(1025, 'a') + "\""}},
      {"stop_token_ids", {"[-1]", "[8192]", "5", "[" + repeat(1025, "1") + "]"}},
      {"logit_bias",
       {"[]", R"({"5": 100.001})", R"({"5": -100.001})", R"({"8192": 1})", R"({"-1": 1})", R"({"05": 1})",
        R"({"x": 1})", R"({"": 1})", R"({"5": null})",
        [] {
          std::string biases = "{\"0\": 1";
          for (int i = 1; i <= 1024; ++i) biases += ", \"" + std::to_string(i) + "\": 1";
          return biases + "}";
        }()}},
      {"skip_special_tokens", {"1"}},
      {"ignore_eos", {"0"}},
      {"stream", {"\"true\""}},
      {"stream_options", {"{}", "true"}},
      {"user", {"5", "\"" + std::string(1025, 'u') + "\""}},
      {"priority", {"1.5", "2147483648"}},
      {"kv_budget", {"0", "-1", "5", "4097", "1.5", "\"512\""}},
      {"compression", {"\"half\"", "true"}},
  };
  for (const auto& [field, values] : both) {
    for (const std::string& value : values) {
      const std::string pair = "\"" + field + "\": " + value;
      rows.push_back({"completion " + pair.substr(0, 60), complete(pair), 400, "invalid_value", field});
      rows.push_back({"chat " + pair.substr(0, 60), chat(pair), 400, "invalid_value", field});
    }
  }
  for (const char* field :
       {R"("tools": [{"type": "function"}])", R"("response_format": {"type": "json_object"})",
        R"("best_of": 2)", R"("suffix": "a")", R"("guided_json": {})", R"("chat_template": "a")"}) {
    const std::string pair = field;
    const std::string name = pair.substr(1, pair.find('"', 1) - 1);
    rows.push_back({"completion " + pair, complete(pair), 400, "unsupported_field", name});
    rows.push_back({"chat " + pair, chat(pair), 400, "unsupported_field", name});
  }
  rows.insert(
      rows.end(),
      {
          {"logprobs of a completion", complete(R"("logprobs": 21)"), 400, "invalid_value", "logprobs"},
          {"logprobs of a chat", chat(R"("logprobs": 5)"), 400, "invalid_value", "logprobs"},
          {"top_logprobs", chat(R"("logprobs": true, "top_logprobs": 21)"), 400, "invalid_value",
           "top_logprobs"},
          {"top_logprobs alone", chat(R"("top_logprobs": 2)"), 400, "invalid_value", "top_logprobs"},
          {"echo of a completion", complete(R"("echo": 1)"), 400, "invalid_value", "echo"},
          {"echo of a chat", chat(R"("echo": true)"), 400, "unsupported_field", "echo"},
          {"both ways to end a chat",
           chat(R"("continue_final_message": true, "add_generation_prompt": true)"), 400, "invalid_value",
           "continue_final_message"},
          {"min_tokens above max_tokens", complete(R"("max_tokens": 5, "min_tokens": 6)"), 400,
           "invalid_value", "min_tokens"},
          {"another model", complete(R"("model": "gpt-4")"), 404, "model_not_found", "model"},
          {"a model that is a number", complete(R"("model": 4)"), 400, "invalid_value", "model"},
      });
  expect_each(rows);
}

TEST_F(Refusals, OfPrompts) {
  start_with_chat();
  const auto prompt = [](const std::string& value) {
    return json("/v1/completions", "{\"prompt\": " + value + "}");
  };
  const auto messages = [](const std::string& value) {
    return json("/v1/chat/completions", "{\"messages\": " + value + "}");
  };
  std::vector<Row> rows = {
      {"no prompt", json("/v1/completions", "{}"), 400, "invalid_value", "prompt"},
      {"no messages", json("/v1/chat/completions", "{}"), 400, "invalid_value", "messages"},
      {"messages null", messages("null"), 400, "invalid_value", "messages"},
      {"no message", messages("[]"), 400, "invalid_value", "messages"},
      {"a message that is text", messages(R"(["a"])"), 400, "invalid_value", "messages[0]"},
      {"no role", messages(R"([{"content": "a"}])"), 400, "invalid_value", "messages[0].role"},
      {"no content", messages(R"([{"role": "user"}])"), 400, "invalid_value", "messages[0].content"},
      {"an image",
       messages(
           R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]}])"),
       400, "invalid_value", "messages[0].content"},
      {"a call of a tool", messages(R"([{"role": "assistant", "content": "a", "tool_calls": [{}]}])"), 400,
       "unsupported_field", "messages[0].tool_calls"},
      {"tokenize nothing", json("/tokenize", "{}"), 400, "invalid_value", "prompt"},
      {"tokenize both",
       json("/tokenize", R"({"prompt": "a", "messages": [{"role": "user", "content": "a"}]})"), 400,
       "invalid_value", "prompt"},
      {"tokenize with tools",
       json("/tokenize", R"({"messages": [{"role": "user", "content": "a"}], "tools": [{}]})"), 400,
       "unsupported_field", "tools"},
      {"detokenize nothing", json("/detokenize", "{}"), 400, "invalid_value", "tokens"},
      {"detokenize what is no id", json("/detokenize", R"({"tokens": [8192000000]})"), 400, "invalid_value",
       "tokens"},
      {"detokenize beyond the vocabulary", json("/detokenize", R"({"tokens": [8192]})"), 400, "invalid_value",
       "tokens"},
      {"129 prompts", prompt("[" + repeat(129, "\"a\"") + "]"), 400, "invalid_value", "prompt"},
  };
  for (const char* value : {"null", "5", "{}", "[]", "[[]]", "[8192]", "[-1]", "[1.5]", "[1, \"a\"]",
                            "[\"a\", 1]", "[[1], \"a\"]", "[[[1]]]", "\"\"", "[true]", "[null]", "[1e30]"}) {
    rows.push_back({std::string("prompt ") + value, prompt(value), 400, "invalid_value", "prompt"});
  }
  expect_each(rows);
}

TEST_F(Refusals, OfWhatIsTooLongForTheModelOrTheMemory) {
  start_with_chat();
  const std::string ids = repeat(4000, "5");
  const std::vector<Row> rows = {
      {"output", complete(R"("max_tokens": 4096)"), 400, "context_length_exceeded", "prompt"},
      {"prompt and output", json("/v1/completions", "{\"prompt\": [" + ids + "], \"max_tokens\": 97}"), 400,
       "context_length_exceeded", "prompt"},
      {"prompt", json("/v1/completions", "{\"prompt\": [" + ids + "," + ids + "]}"), 400,
       "context_length_exceeded", "prompt"},
      {"one of several prompts", json("/v1/completions", "{\"prompt\": [[5], [" + ids + "," + ids + "]]}"),
       400, "context_length_exceeded", "prompt"},
      {"a chat", chat(R"("max_tokens": 4096)"), 400, "context_length_exceeded", "messages"},
  };
  expect_each(rows);
  for (const Row& row : rows) {
    HttpClient client(port_);
    client.send(row.bytes);
    // LiteLLM and LangChain match on these words.
    EXPECT_THAT(std::string(client.read().json().at("error").at("message").as_string()),
                testing::StartsWith("This model's maximum context length is 4096 tokens"));
  }
  HttpClient small(port_);
  small.send(complete(R"("kv_budget": 5)"));
  const std::string least(small.read().json().at("error").at("message").as_string());
  const size_t number = least.find_first_of("0123456789", least.find("least"));
  ASSERT_NE(number, std::string::npos) << least;
  HttpClient enough(port_);
  enough.send(complete("\"kv_budget\": " + std::to_string(std::stoi(least.substr(number)))));
  EXPECT_EQ(enough.read().status, 200) << least;
}

TEST_F(Refusals, OfKeysDenyByDefault) {
  settings_.api_keys = {"alpha"};
  settings_.metrics_key = "gamma";
  start_with_chat();
  std::vector<Row> rows;
  const std::vector<std::string> sent = {"", "Authorization: Bearer alph\r\n",
                                         "Authorization: Bearer gamma\r\n", "Authorization: Basic alpha\r\n",
                                         "X-Api-Key: alpha\r\n"};
  for (const char* line :
       {"GET /v1/models", "GET /version", "GET /tokenizer_info", "GET /page/status", "GET /nowhere",
        "DELETE /v1/models", "GET /v1/completions", "GET /page/../metrics"}) {
    for (const std::string& key : sent)
      rows.push_back({line + key, request(line, key), 401, "invalid_api_key"});
  }
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    rows.push_back({path, json(path, "{}"), 401, "invalid_api_key"});
  }
  for (const char* key : {"", "Authorization: Bearer alpha\r\n"}) {
    rows.push_back({std::string("metrics ") + key, request("GET /metrics", key), 401, "invalid_api_key"});
  }
  expect_each(rows);
  for (const char* path : {"/health", "/livez", "/readyz", "/"}) EXPECT_EQ(get(path).status, 200) << path;
  EXPECT_EQ(get("/metrics", "Authorization: Bearer gamma\r\n").status, 200);
  EXPECT_EQ(get("/page/status", "Authorization: Bearer alpha\r\n").status, 200);
}

TEST_F(Refusals, OfWhatCannotBeServedNowAskToComeBackAtDifferentTimes) {
  start_with_chat();
  const std::pair<Rejection::Kind, const char*> kinds[] = {{Rejection::Kind::queue_full, "queue_full"},
                                                           {Rejection::Kind::no_group, "no_group"},
                                                           {Rejection::Kind::draining, "draining"}};
  for (const auto& [kind, code] : kinds) {
    run_on_loop([&, rejected = kind] { backend_.rejection = Rejection{rejected, "not now"}; });
    expect_each({{code, complete(R"("stream": true)"), 503, code}, {code, chat(R"("n": 2)"), 503, code}});
    std::set<int> seconds;
    for (int i = 0; i < 50; ++i) {
      const ClientAnswer answer = post("/v1/completions", R"({"prompt": "hi"})");
      seconds.insert(std::stoi(answer.fields.at("retry-after")));
    }
    EXPECT_GE(*seconds.begin(), 1);
    EXPECT_LE(*seconds.rbegin(), 30);
    EXPECT_GT(seconds.size(), 3u) << "clients that were turned away together come back together";
  }
  run_on_loop([&] {
    backend_.rejection = Rejection{Rejection::Kind::never_fits, "max_tokens: at most 7 fit"};
  });
  expect_each({{"too large for the memory", complete(R"("n": 1)"), 400, "kv_memory_exceeded", "max_tokens"}});
}

TEST_F(Refusals, OfNothingThatIsNullNeutralOrUnknown) {
  start_with_chat();
  for (const char* fields :
       {R"("temperature": null, "stop": null, "n": null, "logit_bias": null, "stream_options": null)",
        R"("made_up": {"a": [1, null]}, "another": "\u00e4")",
        R"("top_k": -1, "priority": -2147483648, "seed": -9223372036854775808, "tools": [])",
        R"("logit_bias": {"0": -100, "8191": 100}, "stop": ["\ud83d\ude00", "\u0000"])"}) {
    for (const std::string& bytes : {complete(fields), chat(fields)}) {
      HttpClient client(port_);
      client.send(bytes);
      const ClientAnswer answer = client.read();
      EXPECT_EQ(answer.status, 200) << fields << answer.body;
    }
  }
}

// 4,096 and not one more; who leaves makes room.
TEST_F(Refusals, OfTheConnectionBeyondTheCap) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  settings_.header_timeout = 3600;
  const auto cap = static_cast<size_t>(settings_.max_connections);
  ASSERT_EQ(cap, 4096u);
  if (limit.rlim_cur < 2 * cap + 100) GTEST_SKIP() << "only " << limit.rlim_cur << " descriptors here";
  start_with_chat();
  std::list<HttpClient> clients;
  for (size_t i = 0; i < cap; ++i) clients.emplace_back(port_);
  clients.back().get("/livez");
  EXPECT_EQ(clients.back().read().status, 200);
  std::set<std::string> seconds;
  for (int i = 0; i < 50; ++i) {
    HttpClient beyond(port_);
    const ClientAnswer answer = beyond.read();
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.error_code(), "too_many_connections");
    seconds.insert(answer.fields.at("retry-after"));
    EXPECT_TRUE(beyond.at_end());
  }
  EXPECT_GT(seconds.size(), 3u);
  clients.pop_front();
  EXPECT_TRUE(eventually([&] { return get("/livez").status == 200; }));
}

TEST(Limits, AreThoseThatAreDocumented) {
  const config::Settings settings;
  EXPECT_EQ(settings.max_header_bytes, 16 * 1024);
  EXPECT_EQ(settings.max_header_fields, 100);
  EXPECT_EQ(settings.max_body_bytes, 4 * 1024 * 1024);
  EXPECT_EQ(settings.max_total_body_bytes, 256 * 1024 * 1024);
  EXPECT_EQ(settings.header_timeout, 10);
  EXPECT_EQ(settings.body_timeout, 30);
  EXPECT_EQ(settings.idle_timeout, 75);
  EXPECT_EQ(settings.max_connections, 4096);
  EXPECT_EQ(settings.max_num_queued_reqs, 256);
  EXPECT_EQ(settings.max_num_queued_tokens, 16 * 1024 * 1024);
  EXPECT_EQ(settings.stream_buffer_events, 256);
  EXPECT_EQ(settings.stream_buffer_bytes, 64 * 1024);
  EXPECT_EQ(settings.stream_stall_timeout, 15);
  EXPECT_EQ(settings.ping_interval, 15);
}

}  // namespace
}  // namespace batchmax::coordinator
