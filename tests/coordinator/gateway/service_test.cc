#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>

#include "coordinator/text/chat_template.h"
#include "tests/coordinator/gateway/gateway_fixture.h"
#include "tests/support/temporary_folder.h"

namespace batchmax::coordinator {
namespace {

using Service = GatewayTest;

TEST_F(Service, ListsItsModel) {
  settings_.served_model_name = "book";
  start();
  const auto json = get("/v1/models").json();
  EXPECT_EQ(json.at("object"), "list");
  ASSERT_EQ(json.at("data").as_array().size(), 1u);
  EXPECT_EQ(json.at("data").at(0).at("id"), "book");
  EXPECT_EQ(json.at("data").at(0).at("object"), "model");
  EXPECT_EQ(json.at("data").at(0).at("max_model_len"), 4096);
  EXPECT_EQ(get("/v1/models/book").json(), json.at("data").at(0));
  EXPECT_EQ(get("/v1/models/novel").status, 404);
}

TEST_F(Service, FindsItsModelByAnyName) {
  settings_.served_model_name = "org/a b+\xC3\xA9";
  start();
  EXPECT_EQ(get("/v1/models/org%2Fa%20b%2B%C3%A9").json().at("id"), "org/a b+\xC3\xA9");
}

TEST_F(Service, IsAsHealthyAsItsGroups) {
  start();
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(get("/readyz").status, 200);
  backend_.healthy = false;
  EXPECT_EQ(get("/health").status, 503);
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_EQ(get("/livez").status, 200);
}

TEST_F(Service, TokenizesAndBack) {
  start();
  const auto json =
      post("/tokenize", R"({"prompt": "The house stood.", "add_special_tokens": false})").json();
  const auto ids = tokenizer().encode("The house stood.", false);
  EXPECT_EQ(json.at("tokens"), boost::json::array(ids.begin(), ids.end()));
  EXPECT_EQ(json.at("count"), ids.size());
  EXPECT_EQ(json.at("max_model_len"), 4096);
  const auto back = post("/detokenize", "{\"tokens\": " + boost::json::serialize(json.at("tokens")) + "}");
  EXPECT_EQ(back.json().at("prompt"), "The house stood.");
  EXPECT_FALSE(json.as_object().contains("token_strs"));
  const auto spelled = post("/tokenize", R"({"prompt": "The house", "return_token_strs": true})").json();
  EXPECT_EQ(spelled.at("token_strs"), (boost::json::array{"The", "\xC4\xA0house"}));
}

TEST_F(Service, TokenizesChats) {
  const ChatTemplate chat = ChatTemplate::load(std::string(BATCHMAX_SOURCE_DIR) + "/demo/longbook-17m", "");
  start({&tokenizer(), &chat});
  const auto text = [&](const std::string& fields) {
    const auto json =
        post("/tokenize", R"({"messages": [{"role": "user", "content": "hi"}])" + fields + "}").json();
    std::vector<int32_t> ids;
    for (const auto& id : json.at("tokens").as_array()) ids.push_back(static_cast<int32_t>(id.as_int64()));
    return tokenizer().decode(ids, false);
  };
  EXPECT_EQ(text(""), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(text(R"(, "add_generation_prompt": false)"), "<|im_start|>user\nhi<|im_end|>\n");
  EXPECT_EQ(text(R"(, "continue_final_message": true)"), "<|im_start|>user\nhi");
}

TEST_F(Service, SaysWhatTheTokenizerIs) {
  const std::string folder = std::string(BATCHMAX_SOURCE_DIR) + "/demo/longbook-17m";
  const TokenizerFacts facts = TokenizerFacts::load(folder, "");
  start({&tokenizer(), nullptr, &facts});
  const auto json = get("/tokenizer_info").json();
  EXPECT_EQ(json.at("vocab_size"), tokenizer().vocab_size());
  EXPECT_EQ(json.at("max_model_len"), 4096);
  EXPECT_EQ(json.at("eos_token").as_string(), facts.special_tokens.at("eos_token"));
  EXPECT_FALSE(json.at("chat_template").as_string().empty());
}

TEST(TokenizerFacts, KnowTheDefaultOfSeveralTemplates) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() + "/tokenizer_config.json")
      << R"({"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]})";
  EXPECT_EQ(TokenizerFacts::load(folder.path(), "").chat_template, "b");
}

TEST_F(Service, HasNoTokenizerInfoWithoutATokenizer) {
  start({nullptr, nullptr});
  EXPECT_EQ(get("/tokenizer_info").error_code(), "no_tokenizer");
}

TEST_F(Service, RefusesWhatItCannotTokenize) {
  start();
  const std::pair<std::string, std::string> cases[] = {
      {"{}", "invalid_value"},
      {R"({"prompt": 5})", "invalid_value"},
      {R"({"prompt": "a", "add_special_tokens": 1})", "invalid_value"},
      {R"({"messages": []})", "invalid_value"},
      {R"({"messages": [{"role": "user", "content": "a"}]})", "no_chat_template"},
      {R"({"messages": [{"role": "user", "content": "a"}], "prompt": "a"})", "invalid_value"},
      {R"({"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": 1})", "invalid_value"},
      {R"({"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]})",
       "unsupported_field"},
      {R"({"prompt": "a", "return_token_strs": 1})", "invalid_value"},
      {"[]", "invalid_json"},
  };
  for (const auto& [body, code] : cases) {
    const auto answer = post("/tokenize", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.error_code(), code) << body;
  }
  for (const char* body : {"{}", R"({"tokens": "a"})", R"({"tokens": [-1]})", R"({"tokens": [1.5]})"}) {
    EXPECT_EQ(post("/detokenize", body).error_code(), "invalid_value") << body;
  }
  const int32_t vocabulary = backend_.model()->vocab_size;
  EXPECT_EQ(post("/detokenize", fmt::format(R"({{"tokens": [{}]}})", vocabulary - 1)).status, 200);
  EXPECT_EQ(post("/detokenize", fmt::format(R"({{"tokens": [{}]}})", vocabulary)).error_code(),
            "invalid_value");
  EXPECT_EQ(post("/tokenize", R"({"prompt": "a", "model": "other"})").status, 404);
}

TEST_F(Service, NamesTheModelAfterItsFolder) {
  config::Settings settings;
  settings.model = "/models/my-llama/";
  EXPECT_EQ(served_name(settings), "my-llama");
  settings.model = "/models/my-llama";
  EXPECT_EQ(served_name(settings), "my-llama");
  settings.served_model_name = "other";
  EXPECT_EQ(served_name(settings), "other");
}

}  // namespace
}  // namespace batchmax::coordinator
