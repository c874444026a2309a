// A model's config.json.
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "tests/fuzz/temporary_file.h"
#include "worker/model/model_config.h"

using namespace batchmax::worker;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static batchmax::fuzz::TemporaryFile file("config.json");
  file.write(data, size);
  try {
    const ModelConfig config = read_model_config(file.folder());
    if (config.layers < 1 || config.kv_heads < 1 || config.heads % config.kv_heads != 0 ||
        config.vocab_size < 1)
      std::abort();
    check_tensor_parallel(config, 2);
  } catch (const std::runtime_error&) {
  }
  return 0;
}
