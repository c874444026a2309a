#include "kernels/core/buffer.h"

#include <algorithm>
#include <numeric>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class Buffers : public OnBackend {};
BATCHMAX_ON_BACKENDS(Buffers);

TEST_P(Buffers, AreAligned) {
  for (const size_t bytes : {1, 255, 256, 1000, 3 << 20}) {
    const Buffer buffer(stream_, bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 256, 0U) << bytes;
  }
}

TEST_P(Buffers, CarryBytesThereAndBack) {
  for (const size_t n : {1, 3, 4096, 5 << 20}) {
    std::vector<uint8_t> sent(n);
    std::iota(sent.begin(), sent.end(), uint8_t{1});
    const Buffer buffer(stream_, n);
    upload(stream_, buffer.data(), sent.data(), n);
    std::vector<uint8_t> received(n);
    download(stream_, received.data(), buffer.data(), n);
    stream_.synchronize();
    EXPECT_EQ(received, sent);
    fill_zero(stream_, buffer.data(), n);
    download(stream_, received.data(), buffer.data(), n);
    stream_.synchronize();
    EXPECT_EQ(received, std::vector<uint8_t>(n));
  }
}

TEST_P(Buffers, MoveTheirMemory) {
  Buffer first(stream_, 100);
  void* data = first.data();
  Buffer second(std::move(first));
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(second.bytes(), 100U);
  Buffer third;
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  PinnedBuffer pinned(stream_, 10);
  std::fill_n(static_cast<char*>(pinned.data()), 10, 'x');
  void* pinned_data = pinned.data();
  PinnedBuffer moved;
  moved = std::move(pinned);
  EXPECT_EQ(moved.data(), pinned_data);
  EXPECT_EQ(moved.bytes(), 10U);
}

TEST_P(Buffers, KnowTheMemoryTheyComeFrom) {
  const MemoryInfo info = memory_info(stream_);
  EXPECT_GT(info.free, 0U);
  EXPECT_LE(info.free, info.total);
}

TEST_P(Buffers, AnArenaHandsOutAlignedPiecesThatDoNotOverlap) {
  const Buffer buffer(stream_, 1024);
  Arena arena(buffer);
  const Tensor a = arena.take(DType::f32, {3, 5});
  const Tensor b = arena.take(DType::bf16, {128});
  EXPECT_EQ(a.data(), buffer.data());
  EXPECT_EQ(b.data(), static_cast<std::byte*>(buffer.data()) + 256);
  EXPECT_EQ(arena.used(), 512U);
  arena.reset();
  EXPECT_EQ(arena.take(DType::u8, {1}).data(), buffer.data());
}

TEST_P(Buffers, AMeasuringArenaCountsWhatARealOneUses) {
  const Buffer buffer(stream_, 2048);
  Arena real(buffer);
  Arena measuring;
  for (Arena* arena : {&real, &measuring}) {
    arena->take(DType::f32, {100});
    arena->take(DType::u8, {1});
    arena->take(DType::i64, {0});
  }
  EXPECT_EQ(measuring.used(), real.used());
}

TEST(ArenaDeathTest, RefusesMoreThanItHolds) {
  const Buffer buffer(Stream::cpu(), 512);
  Arena arena(buffer);
  arena.take(DType::u8, {300});
  EXPECT_DEATH(arena.take(DType::u8, {1}), "CHECK failed");
}

TEST(Streams, SayThatABuildWithoutCudaHasNone) {
  if constexpr (kCudaBuilt) {
    EXPECT_THROW(Stream::cuda(1000), std::runtime_error);
  } else {
    try {
      Stream::cuda(0);
      FAIL() << "no exception";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("no CUDA"), std::string::npos) << error.what();
    }
  }
}

TEST(Streams, MoveWhatTheyName) {
  Stream stream = Stream::cpu();
  const Stream moved(std::move(stream));
  EXPECT_EQ(moved.backend(), Backend::cpu);
  EXPECT_EQ(moved.native(), nullptr);
  moved.synchronize();
}

}  // namespace
}  // namespace batchmax::kernels::testing
