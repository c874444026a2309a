#include "coordinator/client/terminal_text.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

TEST(TerminalText, SteersNoTerminal) {
  EXPECT_EQ(printable("a\tb\nc é 日 🙂"), "a\tb\nc é 日 🙂");
  EXPECT_EQ(printable("\x1b[2J\r\x7f"), "\uFFFD[2J\uFFFD\uFFFD");
  EXPECT_EQ(printable("\u009b31m"), "\uFFFD31m");  // the one-character form of ESC [
  EXPECT_EQ(printable("\xff"), "\uFFFD");
  EXPECT_EQ(printable(""), "");
}

TEST(TerminalText, AMessageIsOneLine) { EXPECT_EQ(one_line("a\r\nb\nc"), "a b c"); }

}  // namespace
}  // namespace batchmax::coordinator
