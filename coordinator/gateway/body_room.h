// How many bytes of request bodies all connections hold together. Event loop only.
#pragma once

#include <cstddef>

namespace batchmax::coordinator {

// Shared by all sessions.
struct BodyBytes {
  size_t most;
  size_t held = 0;
};

// One request's part of them, from its first byte on until the body is gone. Bytes count as they arrive: a
// length that was only announced takes nothing from others.
class BodyRoom {
 public:
  // What every body may have, whoever holds the rest: short requests always pass. The number of connections
  // bounds them.
  static constexpr size_t kFreeBytes = 64 * 1024;

  explicit BodyRoom(BodyBytes& all) : all_(all) {}
  ~BodyRoom() { all_.held -= held_; }
  BodyRoom(const BodyRoom&) = delete;
  BodyRoom& operator=(const BodyRoom&) = delete;

  // Whether a body of so many bytes would find room now.
  bool fits(size_t bytes) const { return all_.held - held_ + counted(bytes) <= all_.most; }
  // The part is as large as so many bytes need; false, and as it was, where that is too much.
  bool grow(size_t bytes) {
    if (!fits(bytes)) return false;
    all_.held += counted(bytes) - held_;
    held_ = counted(bytes);
    return true;
  }

 private:
  static size_t counted(size_t bytes) { return bytes > kFreeBytes ? bytes - kFreeBytes : 0; }

  BodyBytes& all_;
  size_t held_ = 0;
};

}  // namespace batchmax::coordinator
