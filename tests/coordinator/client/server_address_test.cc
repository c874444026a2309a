#include "coordinator/client/server_address.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

ServerAddress address(const std::string& url) {
  ServerFlags flags;
  flags.url = url;
  return resolve(flags, {});
}

std::string key(const std::string& flag, const std::map<std::string, std::string>& environment) {
  ServerFlags flags;
  flags.api_key = flag;
  return resolve(flags, environment).api_key;
}

TEST(ServerAddress, TakesAUrlApart) {
  struct Case {
    std::string url, host, port, authority, prefix, shown;
    bool tls;
  };
  for (const Case& c : {
           Case{"http://127.0.0.1:8000", "127.0.0.1", "8000", "127.0.0.1:8000", "", "http://127.0.0.1:8000",
                false},
           Case{"https://llm.example", "llm.example", "443", "llm.example", "", "https://llm.example", true},
           Case{"http://[::1]:9/", "::1", "9", "[::1]:9", "", "http://[::1]:9", false},
           Case{"http://a/v1", "a", "80", "a", "", "http://a", false},
           Case{"HTTPS://a:1/team/v1/", "a", "1", "a:1", "/team", "https://a:1/team", true},
       }) {
    const ServerAddress read = address(c.url);
    EXPECT_EQ(read.host, c.host) << c.url;
    EXPECT_EQ(read.port, c.port) << c.url;
    EXPECT_EQ(read.authority, c.authority) << c.url;
    EXPECT_EQ(read.prefix, c.prefix) << c.url;
    EXPECT_EQ(read.url, c.shown) << c.url;
    EXPECT_EQ(read.tls, c.tls) << c.url;
  }
}

TEST(ServerAddress, RefusesWhatIsNoServer) {
  for (const char* url : {"", "127.0.0.1:8000", "localhost", "ftp://a", "http://", "http:///v1",
                          "http://u:p@a", "http://a/?x=1", "http://a#b", "http://a b", "http://a:0",
                          "http://a:", "http://a:65536", "http://a:99999"})
    EXPECT_THROW(address(url), UsageError) << url;
}

TEST(ServerAddress, TheKeyIsTheFlagsThenOursThenOpenAis) {
  EXPECT_EQ(key("", {}), "");
  EXPECT_EQ(key("", {{"OPENAI_API_KEY", "o"}}), "o");
  EXPECT_EQ(key("", {{"OPENAI_API_KEY", "o"}, {"BATCHMAX_API_KEY", "b"}}), "b");
  EXPECT_EQ(key("", {{"OPENAI_API_KEY", "o"}, {"BATCHMAX_API_KEY", ""}}), "o");
  EXPECT_EQ(key("f,g", {{"BATCHMAX_API_KEY", "b"}}), "f,g");
  EXPECT_EQ(key("", {{"BATCHMAX_API_KEY", "first,second"}}), "first");
}

}  // namespace
}  // namespace batchmax::coordinator
