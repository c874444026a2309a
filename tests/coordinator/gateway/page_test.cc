#include <gmock/gmock.h>

#include <boost/json/array.hpp>

#include "coordinator/gateway/recent_requests.h"
#include "coordinator/page/page_files.h"
#include "tests/coordinator/gateway/gateway_fixture.h"

namespace batchmax::coordinator {
namespace {

using testing::HasSubstr;
using testing::Not;
using Page = GatewayTest;

TEST_F(Page, SendsItsFilesToAnybodyUnderAStrictPolicy) {
  settings_.api_keys = {"secret"};
  start();
  for (const PageFile& file : page_files()) {
    const auto answer = get(std::string(file.path));
    EXPECT_EQ(answer.status, 200) << file.path;
    EXPECT_EQ(answer.body, file.bytes) << file.path;
    EXPECT_EQ(answer.fields.at("content-type"), file.content_type);
    EXPECT_EQ(answer.fields.at("x-content-type-options"), "nosniff");
    const std::string& policy = answer.fields.at("content-security-policy");
    EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
    EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  }
  EXPECT_THAT(get("/").body, HasSubstr("<title>batchmax</title>"));
}

TEST_F(Page, HasNoFilesBesideItsOwn) {
  start();
  for (const char* path : {"/page", "/page/", "/page/index.html", "/page/../main.cc", "/page/README.md"}) {
    EXPECT_EQ(get(path).status, 404) << path;
  }
}

// A browser asks for nothing else, and the policy would refuse it.
TEST_F(Page, HasNoInlineCodeAndNoAddressOfAnotherHost) {
  for (const PageFile& file : page_files()) {
    if (file.path.starts_with("/page/uplot/")) continue;  // names its origin in a comment
    for (const char* never : {"<style", "style=", "onclick", "onload", "javascript:", "innerHTML", "eval(",
                              "https:", "localStorage", "sessionStorage"}) {
      EXPECT_EQ(file.bytes.find(never), std::string_view::npos) << file.path << " has " << never;
    }
  }
}

TEST_F(Page, TellsItsFiguresOnlyWithAKey) {
  settings_.api_keys = {"secret"};
  start();
  EXPECT_EQ(get("/page/status").status, 401);
  EXPECT_EQ(get("/page/status", "Authorization: Bearer secret\r\n").status, 200);
}

TEST_F(Page, SaysHowGroupsAndQueueAre) {
  GroupStatus status{"g0", 7, true, false, 12, {}};
  status.figures.pages_total = 10;
  status.figures.pages_reserved = 4;
  status.figures.kv_bytes_held = 1000;
  status.figures.kv_bytes_full_attention = 9000;
  status.figures.sequences_running = 3;
  status.figures.evicted_prefill_total = 5;
  status.figures.evicted_decode_total = 6;
  backend_.statuses = {status};
  backend_.waiting = 2;
  start();
  const auto json = get("/page/status").json();
  EXPECT_EQ(json.at("model"), "m");
  EXPECT_EQ(json.at("chat"), false);
  EXPECT_EQ(json.at("compression"), "full");
  EXPECT_EQ(json.at("kv_bytes_per_token"), 1000);
  EXPECT_EQ(json.at("requests_waiting"), 2);
  const auto& group = json.at("groups").at(0);
  EXPECT_EQ(group.at("name"), "g0");
  EXPECT_EQ(group.at("healthy"), false);
  EXPECT_EQ(group.at("kv_bytes_total"), 10 * 64 * 1000);
  EXPECT_EQ(group.at("kv_bytes_reserved"), 4 * 64 * 1000);
  EXPECT_EQ(group.at("kv_bytes_full_attention"), 9000);
  EXPECT_EQ(group.at("sequences_running"), 3);
  EXPECT_EQ(group.at("tokens_evicted_total"), 11);
}

TEST_F(Page, RemembersTheNewestRequestsWithoutTheirText) {
  start();
  for (size_t i = 0; i < RecentRequests::kMost + 3; ++i) {
    const std::string id = "x-request-id: id" + std::to_string(i) + "\r\n";
    EXPECT_EQ(post("/v1/completions", R"({"prompt": "Quaint words", "max_tokens": 3})", id).status, 200);
  }
  const auto answer = get("/page/status");
  EXPECT_THAT(answer.body, Not(HasSubstr("Quaint")));
  const auto json = answer.json();
  const auto& recent = json.at("recent_requests").as_array();
  ASSERT_EQ(recent.size(), RecentRequests::kMost);
  EXPECT_EQ(recent[0].at("id").as_string(), "id" + std::to_string(RecentRequests::kMost + 2));
  EXPECT_EQ(recent[0].at("outcome"), "done");
  EXPECT_EQ(recent[0].at("completion_tokens"), 3);
  EXPECT_EQ(recent[0].at("tokens_evicted"), 3);
  EXPECT_EQ(recent[0].at("kv_bytes_held"), 10);
  EXPECT_GE(recent[0].at("seconds").as_double(), recent[0].at("first_token_seconds").as_double());
}

TEST_F(Page, RemembersWhoLeftAndWhatFailed) {
  backend_.script = [](const TokenRequest&) { return std::deque<TokenEvent>{TokenChunk{{1000}}}; };
  start();
  {
    HttpClient client(port_);
    client.post("/v1/completions", R"({"prompt": "a", "stream": true})");
    client.wait_for("data: ");
  }
  ASSERT_TRUE(eventually([this] { return backend_.open == 0; }));
  run_on_loop([this] {
    backend_.script = [](const TokenRequest&) {
      TokenEnd end;
      end.reason = FinishReason::error;
      end.error = "lost";
      return std::deque<TokenEvent>{end};
    };
  });
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "a"})").status, 500);
  const auto json = get("/page/status").json();
  const auto& recent = json.at("recent_requests").as_array();
  ASSERT_EQ(recent.size(), 2u);
  EXPECT_EQ(recent[0].at("outcome"), "failed");
  EXPECT_TRUE(recent[0].at("first_token_seconds").is_null());
  EXPECT_TRUE(recent[0].at("kv_bytes_held").is_null());
  EXPECT_EQ(recent[1].at("outcome"), "left");
  EXPECT_EQ(recent[1].at("completion_tokens"), 1);
}

}  // namespace
}  // namespace batchmax::coordinator
