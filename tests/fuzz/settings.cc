// An operator's YAML file.
#include <cstdint>
#include <cstdlib>

#include "config/load.h"
#include "tests/fuzz/temporary_file.h"

using namespace batchmax::config;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static batchmax::fuzz::TemporaryFile file("settings.yaml");
  file.write(data, size);
  const auto outcome = load({"--config", file.path()}, {});
  if (const auto* loaded = std::get_if<Loaded>(&outcome)) {
    effective_config(*loaded);
    to_yaml(loaded->settings);
  } else if (std::get<ConfigErrors>(outcome).messages.empty()) {
    std::abort();
  }
  return 0;
}
