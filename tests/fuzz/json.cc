// JSON of model folders and of requests, and what a strict reader must hold: what was taken can be written
// and read again.
#include <boost/json/serialize.hpp>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "coordinator/gateway/generation_request.h"
#include "coordinator/text/json_file.h"

using namespace batchmax::coordinator;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = read_body_object(text);
  if (const auto* object = std::get_if<boost::json::object>(&body)) {
    if (std::holds_alternative<ApiError>(read_body_object(boost::json::serialize(*object)))) std::abort();
  }
  try {
    const boost::json::value value = parse_json(text, "file.json");
    parse_json(boost::json::serialize(value), "again.json");
  } catch (const std::runtime_error& error) {
    if (std::string_view(error.what()).find("again.json") != std::string_view::npos) std::abort();
  }
  return 0;
}
