#include "coordinator/gateway/token_backend.h"

namespace batchmax::coordinator {
namespace {

class HandleSource final : public TokenSource {
 public:
  explicit HandleSource(RequestHandle handle) : handle_(std::move(handle)) {}
  boost::asio::awaitable<TokenEvent> next() override { return handle_.next(); }
  void stop() override { handle_.stop(); }

 private:
  RequestHandle handle_;
};

}  // namespace

std::variant<std::unique_ptr<TokenSource>, Rejection> ClusterBackend::submit(TokenRequest request) {
  auto taken = cluster_.submit(std::move(request));
  if (auto* rejection = std::get_if<Rejection>(&taken)) return std::move(*rejection);
  return std::make_unique<HandleSource>(std::get<RequestHandle>(std::move(taken)));
}

std::optional<ModelFacts> ClusterBackend::model() const { return cluster_.model(); }
int32_t ClusterBackend::healthy_groups() const { return cluster_.healthy_groups(); }
std::vector<GroupStatus> ClusterBackend::groups() const { return cluster_.groups(); }
int32_t ClusterBackend::requests_waiting() const { return cluster_.requests_waiting(); }
boost::asio::awaitable<bool> ClusterBackend::health(std::chrono::milliseconds timeout) {
  return cluster_.health(timeout);
}

}  // namespace batchmax::coordinator
