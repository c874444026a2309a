#include "coordinator/client/chat_turn.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <chrono>
#include <csignal>

#include "coordinator/client/api_client.h"
#include "coordinator/client/conversation.h"

namespace batchmax::coordinator {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Turn run_turn(const ServerAddress& server, const std::string& request,
              const std::function<void(std::string_view)>& show) {
  Turn turn;
  const Clock::time_point start = Clock::now();
  const auto take = [&](std::string_view event) {
    AnswerPiece piece = parse_piece(event);
    if (!piece.text.empty()) {
      if (turn.answer.empty()) turn.first_token = seconds_since(start);
      turn.answer += piece.text;
      show(piece.text);
    }
    if (!piece.finish_reason.empty()) turn.finish_reason = piece.finish_reason;
    if (piece.prompt_tokens) turn.prompt_tokens = piece.prompt_tokens;
    if (piece.completion_tokens) turn.completion_tokens = piece.completion_tokens;
    if (piece.kv_bytes_peak) turn.kv_bytes_peak = piece.kv_bytes_peak;
    if (piece.tokens_evicted) turn.tokens_evicted = piece.tokens_evicted;
  };

  boost::asio::io_context loop(1);
  ApiClient client(loop.get_executor(), server);
  boost::asio::signal_set signals(loop, SIGINT);
  signals.async_wait([&](boost::system::error_code error, int) {
    if (error) return;
    turn.interrupted = true;
    client.cancel();
  });
  std::exception_ptr failure;
  boost::asio::co_spawn(loop, client.stream("/v1/chat/completions", request, take),
                        [&](std::exception_ptr thrown) {
                          failure = thrown;
                          signals.cancel();
                        });
  loop.run();
  turn.whole = seconds_since(start);
  if (failure && !turn.interrupted) std::rethrow_exception(failure);
  return turn;
}

std::string figures(const Turn& turn) {
  std::string text = turn.interrupted ? "stopped" : "done";
  if (turn.prompt_tokens && turn.completion_tokens)
    text = fmt::format("{} + {} tokens", *turn.prompt_tokens, *turn.completion_tokens);
  if (!turn.answer.empty()) text += fmt::format("; first after {:.2f} s", turn.first_token);
  const double rest = turn.whole - turn.first_token;
  if (turn.completion_tokens.value_or(0) > 1 && rest > 0)
    text += fmt::format(", then {:.1f} tokens/s", static_cast<double>(*turn.completion_tokens - 1) / rest);
  if (turn.kv_bytes_peak) {
    text +=
        fmt::format("; KV cache {:.1f} MiB at most, {} tokens evicted",
                    static_cast<double>(*turn.kv_bytes_peak) / (1 << 20), turn.tokens_evicted.value_or(0));
  }
  if (turn.finish_reason == "length") text += "; cut off: no more tokens allowed";
  return text;
}

}  // namespace batchmax::coordinator
