// A chat template, and a conversation through it.
#include <boost/json/parse.hpp>
#include <cstdint>

#include "coordinator/text/chat_template.h"
#include "coordinator/text/template_error.h"

using namespace batchmax::coordinator;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const boost::json::value variables = boost::json::parse(
      R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"H\u00e9llo <b>"},)"
      R"({"role":"assistant","content":""}],"add_generation_prompt":true,"n":3,"x":[1,2.5,null,"s"],"o":{"a":{"b":1}}})");
  try {
    ChatTemplate::parse({reinterpret_cast<const char*>(data), size}, "<s>", "</s>")
        .render(variables.as_object());
  } catch (const TemplateError&) {
  }
  return 0;
}
