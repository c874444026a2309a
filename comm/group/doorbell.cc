#include "comm/group/doorbell.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdio>
#include <ctime>

namespace batchmax::comm {
namespace {

constexpr size_t kPageBytes = 4096;

void* map_shared(const char* name, int flags) {
  const int file = ::shm_open(name, flags, 0600);
  if (file < 0) return nullptr;
  void* page = MAP_FAILED;
  if ((flags & O_CREAT) == 0 || ::ftruncate(file, kPageBytes) == 0) {
    page = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  ::close(file);
  return page == MAP_FAILED ? nullptr : page;
}

// The name lives only while the ranks open it. An empty one: the leader has no shared memory.
std::array<char, 64> choose_name(const void* unique) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "/batchmax-%ld-%zx", static_cast<long>(::getpid()),
                reinterpret_cast<size_t>(unique));
  return name;
}

}  // namespace

Doorbell::Doorbell(const Communicator& communicator) {
  std::array<char, 64> name{};
  void* page = nullptr;
  if (communicator.rank() == 0) {
    name = choose_name(this);
    page = map_shared(name.data(), O_CREAT | O_EXCL | O_RDWR);
    if (page == nullptr) name[0] = '\0';
  }
  MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, communicator.get());
  if (communicator.rank() != 0 && name[0] != '\0') page = map_shared(name.data(), O_RDWR);
  MPI_Barrier(communicator.get());
  if (communicator.rank() == 0 && page != nullptr) ::shm_unlink(name.data());
  if (page != nullptr) rings_ = static_cast<std::atomic<uint32_t>*>(page);  // the page is new: zero
}

Doorbell::~Doorbell() {
  if (rings_ != nullptr) ::munmap(rings_, kPageBytes);
}

void Doorbell::ring() {
  if (rings_ == nullptr) return;
  rings_->fetch_add(1, std::memory_order_acq_rel);
  ::syscall(SYS_futex, rings_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Doorbell::wait(uint32_t seen, std::chrono::microseconds longest) const {
  timespec limit{};
  limit.tv_sec = static_cast<time_t>(longest.count() / 1'000'000);
  limit.tv_nsec = static_cast<long>(longest.count() % 1'000'000) * 1000;
  ::syscall(SYS_futex, rings_, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

}  // namespace batchmax::comm
