// What one rendering may use up, and what it owns. One thread.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <string_view>
#include <vector>

#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

// A published template takes some fifty steps per message. A step is a node evaluated, an item made, or 32
// bytes of text made, so that steps bound time and memory (10^7: about a second).
inline constexpr uint64_t kMaxSteps = 10'000'000;
inline constexpr size_t kMaxTextBytes = size_t{16} << 20;  // of the output, and of any text on the way
inline constexpr int kMaxDepth = 500;                      // nested nodes, through macros

struct Rendering {
  std::chrono::system_clock::time_point now;
  uint64_t steps = 0;
  int depth = 0;
  std::vector<std::shared_ptr<Object>> objects;  // those that could form a circle

  explicit Rendering(std::chrono::system_clock::time_point time) : now(time) {}
  Rendering(const Rendering&) = delete;
  Rendering& operator=(const Rendering&) = delete;
  ~Rendering() {
    for (const auto& object : objects) object->clear();
  }

  void charge(uint64_t more) {
    steps += more;
    if (steps > kMaxSteps) throw OperationError(fmt::format("takes more than {} steps", kMaxSteps));
  }
  // Call before text of this size is made.
  void charge_text(size_t bytes) {
    if (bytes > kMaxTextBytes)
      throw OperationError(fmt::format("makes a text of more than {} bytes", kMaxTextBytes));
    charge(bytes / 32);
  }
};

// One level of nested nodes, for as long as it lives.
class Depth {
 public:
  explicit Depth(Rendering& rendering) : rendering_(rendering) {
    if (rendering_.depth >= kMaxDepth) throw OperationError(fmt::format("nests deeper than {}", kMaxDepth));
    ++rendering_.depth;
  }
  ~Depth() { --rendering_.depth; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Rendering& rendering_;
};

}  // namespace batchmax::coordinator::jinja
