// A tokenizer.json, and text through the tokenizer that it makes.
#include <cstdint>
#include <stdexcept>

#include "coordinator/text/tokenizer.h"
#include "tests/fuzz/temporary_file.h"

using namespace batchmax::coordinator;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static batchmax::fuzz::TemporaryFile file("tokenizer.json");
  file.write(data, size);
  try {
    const Tokenizer tokenizer = Tokenizer::load(file.folder());
    for (const char* text :
         {"", "Hello, world! 12345", " \t\n  a\xc3\xa4\xf0\x9f\x99\x82", "\xff\xfe", "<s>aaaaaaaa</s>"}) {
      tokenizer.decode(tokenizer.encode(text, true), false);
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
