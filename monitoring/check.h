// CHECK: our own bugs. A failed check prints both values and the place, and aborts the process.
// A user's mistake or a machine's failure is never a CHECK (see the README: three kinds of errors).
#pragma once

#include <sstream>
#include <string>

namespace batchmax::monitoring {

// Prints "CHECK failed: <what> at file:line" to standard error and aborts. Any thread.
[[noreturn]] void check_failed(const char* file, int line, const std::string& what);

template <typename A, typename B>
std::string describe_mismatch(const char* expression, const A& a, const B& b) {
  std::ostringstream text;
  text << expression << " (" << a << " vs. " << b << ")";
  return text.str();
}

}  // namespace batchmax::monitoring

#define BATCHMAX_CHECK_OP(a, op, b)                                                                          \
  do {                                                                                                       \
    const auto& batchmax_check_a = (a);                                                                      \
    const auto& batchmax_check_b = (b);                                                                      \
    if (!(batchmax_check_a op batchmax_check_b)) [[unlikely]]                                                \
      ::batchmax::monitoring::check_failed(                                                                  \
          __FILE__, __LINE__,                                                                                \
          ::batchmax::monitoring::describe_mismatch(#a " " #op " " #b, batchmax_check_a, batchmax_check_b)); \
  } while (false)

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) [[unlikely]]                                          \
      ::batchmax::monitoring::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_EQ(a, b) BATCHMAX_CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) BATCHMAX_CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) BATCHMAX_CHECK_OP(a, <, b)
#define CHECK_LE(a, b) BATCHMAX_CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) BATCHMAX_CHECK_OP(a, >, b)
#define CHECK_GE(a, b) BATCHMAX_CHECK_OP(a, >=, b)
