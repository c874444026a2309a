#include "monitoring/check.h"

#include <cstdio>
#include <cstdlib>

namespace batchmax::monitoring {

void check_failed(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "CHECK failed: %s at %s:%d\n", what.c_str(), file, line);
  std::abort();
}

}  // namespace batchmax::monitoring
