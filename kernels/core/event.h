// Points in the order of a stream's work, for the host to wait for and for the books: when was the backend
// here?
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"

namespace batchmax::kernels {

// The host waits until the stream has come to where the event was recorded last, whatever was handed over
// after that.
class Event {
 public:
  explicit Event(const Stream& stream);
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();
  void record(const Stream& stream);
  // Asleep, so it wakes some tens of microseconds late. Returns at once where nothing was recorded, and on
  // cpu.
  void wait() const;

 private:
  void* native_;  // cudaEvent_t; nullptr on cpu
};

// Writes the backend's clock, nanoseconds since an arbitrary moment, to `nanoseconds` (backend memory) in
// stream order. Part of a captured graph where it is called while one is recorded. Ticks of up to a
// microsecond on a GPU.
void mark_time(const Stream& stream, int64_t* nanoseconds);

}  // namespace batchmax::kernels
