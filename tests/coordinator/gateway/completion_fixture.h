// What tests of completions share: the text of ids, and a streamed request.
#pragma once

#include "tests/coordinator/gateway/gateway_fixture.h"

namespace batchmax::coordinator {

class Completion : public GatewayTest {
 protected:
  static std::string text_of(const std::vector<int32_t>& ids) { return tokenizer().decode(ids, true); }
  ClientAnswer stream(const std::string& fields, const std::string& path = "/v1/completions") {
    const std::string prompt = path == "/v1/completions"
                                   ? R"("prompt": [5, 6, 7])"
                                   : R"("messages": [{"role": "user", "content": "hi"}])";
    return post(path, "{" + prompt + R"(, "stream": true)" + (fields.empty() ? "" : ", " + fields) + "}");
  }
  static boost::json::value parse(const std::string& event) { return boost::json::parse(event); }
};

}  // namespace batchmax::coordinator
