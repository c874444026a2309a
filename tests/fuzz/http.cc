// Bytes of a connection up to a typed request: framing, head, body, fields. Whatever they are, the answer is
// a request or a 4xx, and a head that was taken says in one way only where its body ends.
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>

#include "coordinator/gateway/generation_request.h"
#include "coordinator/gateway/http_message.h"

using namespace batchmax::coordinator;

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

void read_body(std::string_view body, Api api) {
  const auto object = read_body_object(body);
  if (const auto* error = std::get_if<ApiError>(&object))
    return expect(error->status >= 400 && error->status < 500);
  RequestBounds bounds;
  bounds.served_model = "m";
  bounds.max_model_len = 4096;
  bounds.vocab_size = 1000;
  const auto request = read_generation_request(api, std::get<boost::json::object>(object), bounds);
  if (const auto* error = std::get_if<ApiError>(&request)) {
    return expect(error->status >= 400 && error->status < 500 && !error->message.empty());
  }
  const auto& made = std::get<GenerationRequest>(request);
  expect(made.n >= 1 && made.n <= 16);
  for (const Prompt& prompt : made.prompts) {
    const auto* ids = std::get_if<std::vector<int32_t>>(&prompt);
    if (ids == nullptr) continue;
    for (const int32_t id : *ids) expect(id >= 0 && id < bounds.vocab_size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    read_body(bytes, Api::completion);
    return 0;
  }
  const std::string_view head = bytes.substr(0, end + 4);
  const auto parsed = parse_head(head, 100);
  if (const auto* fault = std::get_if<HttpFault>(&parsed)) {
    expect((fault->status >= 400 && fault->status < 500) || fault->status == 501 || fault->status == 505);
    return 0;
  }
  const auto& request = std::get<HttpRequest>(parsed);
  expect(request.method != "POST" || request.content_length.has_value());
  std::string lower(head);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  expect(lower.find("\ntransfer-encoding:") == std::string::npos);
  const size_t length = std::min<size_t>(request.content_length.value_or(0), bytes.size() - head.size());
  read_body(bytes.substr(head.size(), length),
            request.path == "/v1/chat/completions" ? Api::chat : Api::completion);
  return 0;
}
