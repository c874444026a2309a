#include "coordinator/client/event_reader.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

using Events = std::vector<std::string>;

const std::string kStream =
    ": ping\n\ndata: one\n\nevent: x\r\nid: 7\r\ndata:two\r\n\r\ndata: a\ndata:  b\ndata\n\ndata:\n\ndata: "
    "[DONE]\n\n";
const Events kEvents = {"one", "two", "a\n b", "", "[DONE]"};

TEST(EventReader, JoinsLinesAndSkipsWhatIsNoData) {
  EventReader reader;
  EXPECT_EQ(reader.add(kStream), kEvents);
}

TEST(EventReader, ReadsTheSameHoweverTheBytesAreCut) {
  for (size_t cut = 1; cut < 8; ++cut) {
    EventReader reader;
    Events events;
    for (size_t at = 0; at < kStream.size(); at += cut) {
      for (std::string& event : reader.add(std::string_view(kStream).substr(at, cut)))
        events.push_back(std::move(event));
    }
    EXPECT_EQ(events, kEvents) << "pieces of " << cut;
  }
}

TEST(EventReader, AnEventIsNotOverBeforeItsEmptyLine) {
  EventReader reader;
  EXPECT_EQ(reader.add("data: one\n"), Events{});
  EXPECT_EQ(reader.add("\n"), Events{"one"});
}

TEST(EventReader, BoundsWhatItKeeps) {
  EventReader reader;
  const std::string mebibyte(1 << 20, 'x');
  const auto feed = [&] {
    for (int i = 0; i < 17; ++i) reader.add(mebibyte);
  };
  EXPECT_THROW(feed(), std::runtime_error);
}

}  // namespace
}  // namespace batchmax::coordinator
