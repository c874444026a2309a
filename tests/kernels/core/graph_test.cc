// Graphs, events and marks in stream order.
#include "kernels/core/graph.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"
#include "kernels/core/event.h"
#include "tests/kernels/on_backend.h"

namespace batchmax::kernels {
namespace {

using InStreamOrder = testing::OnBackend;

std::vector<float> read(const Stream& stream, const Buffer& buffer) {
  std::vector<float> values(buffer.bytes() / sizeof(float));
  download(stream, values.data(), buffer.data(), buffer.bytes());
  stream.synchronize();
  return values;
}

TEST_P(InStreamOrder, AnEventWaitsForWhatCameBefore) {
  constexpr size_t kFloats = 4 << 20;
  const Buffer buffer(stream_, kFloats * sizeof(float));
  PinnedBuffer host(stream_, buffer.bytes());
  Event event(stream_);
  event.wait();  // nothing was recorded
  for (int round = 1; round <= 3; ++round) {
    const std::vector<float> values(kFloats, static_cast<float>(round));
    upload(stream_, buffer.data(), values.data(), buffer.bytes());
    download(stream_, host.data(), buffer.data(), buffer.bytes());
    event.record(stream_);
    event.wait();
    EXPECT_EQ(static_cast<const float*>(host.data())[kFloats - 1], static_cast<float>(round));
  }
}

TEST_P(InStreamOrder, MarksRise) {
  const Buffer marks(stream_, 3 * sizeof(int64_t));
  auto* at = static_cast<int64_t*>(marks.data());
  for (int i = 0; i < 3; ++i) mark_time(stream_, at + i);
  int64_t times[3];
  download(stream_, times, at, sizeof times);
  stream_.synchronize();
  EXPECT_LE(times[0], times[1]);
  EXPECT_LE(times[1], times[2]);
  EXPECT_LT(times[2] - times[0], 1'000'000'000);
}

// What lies at the recorded addresses counts, and recording executes nothing.
TEST_P(InStreamOrder, AGraphRepeatsItsWork) {
  if (!offers_graphs(GetParam())) GTEST_SKIP() << "no graphs on this backend";
  constexpr size_t kFloats = 1000;
  const Buffer from(stream_, kFloats * sizeof(float));
  const Buffer to(stream_, from.bytes());
  const Buffer marks(stream_, sizeof(int64_t));
  PinnedBuffer host(stream_, from.bytes());
  auto* values = static_cast<float*>(host.data());
  fill_zero(stream_, to.data(), to.bytes());
  Graph graph(stream_, [&] {
    upload(stream_, from.data(), host.data(), host.bytes());
    upload(stream_, to.data(), host.data(), host.bytes() / 2);
    mark_time(stream_, static_cast<int64_t*>(marks.data()));
  });
  EXPECT_EQ(read(stream_, to), std::vector<float>(kFloats, 0.0F));
  for (int round = 1; round <= 3; ++round) {
    std::fill_n(values, kFloats, static_cast<float>(round));
    graph.launch(stream_);
    std::vector<float> expected(kFloats, 0.0F);
    std::fill_n(expected.begin(), kFloats / 2, static_cast<float>(round));
    EXPECT_EQ(read(stream_, to), expected);
    EXPECT_EQ(read(stream_, from), std::vector<float>(kFloats, static_cast<float>(round)));
  }
  Graph moved = std::move(graph);
  moved.launch(stream_);
  stream_.synchronize();
}

TEST_P(InStreamOrder, ABrokenRecordingThrowsAndLeavesTheStreamUsable) {
  if (!offers_graphs(GetParam())) GTEST_SKIP() << "no graphs on this backend";
  const auto broken = [] { throw std::runtime_error("out of the work"); };
  EXPECT_THROW(Graph(stream_, broken), std::runtime_error);
  const auto waits = [&] { stream_.synchronize(); };
  EXPECT_THROW(Graph(stream_, waits), std::runtime_error);
  const Buffer buffer(stream_, 64);
  fill_zero(stream_, buffer.data(), buffer.bytes());
  EXPECT_EQ(read(stream_, buffer), std::vector<float>(16, 0.0F));
}

TEST_P(InStreamOrder, TheDeviceHasANameAndAPlace) {
  if (GetParam() != Backend::cuda) GTEST_SKIP() << "of GPUs only";
  const DeviceFacts facts = device_facts(stream_);
  EXPECT_FALSE(facts.name.empty());
  EXPECT_EQ(facts.bus.size(), 12U) << facts.bus;  // 0000:19:00.0
  EXPECT_GE(device_count(), 1);
  EXPECT_FALSE(has_peer_access(stream_, "ffff:ff:ff.f"));
}

BATCHMAX_ON_BACKENDS(InStreamOrder);

}  // namespace
}  // namespace batchmax::kernels
