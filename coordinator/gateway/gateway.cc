#include "coordinator/gateway/gateway.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/url/encode.hpp>
#include <boost/url/rfc/unreserved_chars.hpp>
#include <filesystem>

#include "coordinator/gateway/generation_endpoint.h"
#include "coordinator/gateway/http_server.h"
#include "coordinator/gateway/page_endpoint.h"
#include "coordinator/gateway/service_endpoints.h"

namespace batchmax::coordinator {

namespace asio = boost::asio;

std::string served_name(const config::Settings& settings) {
  if (!settings.served_model_name.empty()) return settings.served_model_name;
  std::error_code ignored;
  const auto path = std::filesystem::weakly_canonical(settings.model, ignored);
  return path.filename().empty() ? path.parent_path().filename().string() : path.filename().string();
}

class Gateway::Implementation {
 public:
  explicit Implementation(Parts parts)
      : executor(parts.executor),
        random(parts.random_seed),
        preparer(served_name(parts.settings), parts.settings.compression, parts.text),
        pool(static_cast<size_t>(parts.settings.tokenizer_threads)),
        generation(
            {parts.executor, parts.settings, parts.backend, preparer, pool, random, recent, parts.log}),
        service(parts.backend, preparer, pool, parts.metrics, parts.version),
        page(parts.backend, preparer, parts.settings.compression, recent, parts.version),
        routes(ApiKeys(parts.settings.api_keys), metrics_keys(parts.settings)),
        server(parts.executor, routes, parts.settings, parts.metrics, parts.log, random, parts.tls) {
    add_routes();
  }

  static ApiKeys metrics_keys(const config::Settings& settings) {
    if (settings.metrics_key.empty()) return ApiKeys({});
    return ApiKeys({settings.metrics_key});
  }

  void add_routes() {
    const auto service_route = [this](const std::string& path, Access access,
                                      asio::awaitable<void> (ServiceEndpoints::*answer)(Reply&)) {
      routes.add({"GET", path, access,
                  [this, answer](const HttpRequest&, Reply& reply) { return (service.*answer)(reply); }});
    };
    service_route("/health", Access::open, &ServiceEndpoints::health);
    service_route("/livez", Access::open, &ServiceEndpoints::live);
    service_route("/readyz", Access::open, &ServiceEndpoints::ready);
    service_route("/metrics", Access::metrics_key, &ServiceEndpoints::metrics);
    service_route("/version", Access::api_key, &ServiceEndpoints::version);
    service_route("/v1/models", Access::api_key, &ServiceEndpoints::models);
    // As clients write a name into a path.
    service_route("/v1/models/" + boost::urls::encode(preparer.served_model(), boost::urls::unreserved_chars),
                  Access::api_key, &ServiceEndpoints::model);
    service_route("/tokenizer_info", Access::api_key, &ServiceEndpoints::tokenizer_info);
    for (const PageFile& file : page_files()) {
      routes.add({"GET", std::string(file.path), Access::open,
                  [this, &file](const HttpRequest&, Reply& reply) { return page.file(file, reply); }});
    }
    routes.add({"GET", "/page/status", Access::api_key,
                [this](const HttpRequest&, Reply& reply) { return page.status(reply); }});
    routes.add({"POST", "/v1/completions", Access::api_key, [this](HttpRequest& request, Reply& reply) {
                  return generation.serve(Api::completion, request, reply);
                }});
    routes.add({"POST", "/v1/chat/completions", Access::api_key, [this](HttpRequest& request, Reply& reply) {
                  return generation.serve(Api::chat, request, reply);
                }});
    routes.add({"POST", "/tokenize", Access::api_key, [this](const HttpRequest& request, Reply& reply) {
                  return service.tokenize(request, reply);
                }});
    routes.add({"POST", "/detokenize", Access::api_key, [this](const HttpRequest& request, Reply& reply) {
                  return service.detokenize(request, reply);
                }});
  }

  asio::any_io_executor executor;
  RandomSource random;
  RequestPreparer preparer;
  WorkPool pool;
  RecentRequests recent;
  GenerationEndpoint generation;
  ServiceEndpoints service;
  PageEndpoint page;
  RouteTable routes;
  HttpServer server;
};

Gateway::Gateway(Parts parts) : implementation_(std::make_unique<Implementation>(std::move(parts))) {}
Gateway::~Gateway() = default;

uint16_t Gateway::listen() { return implementation_->server.listen(); }

void Gateway::drain() {
  implementation_->service.drain();
  implementation_->server.drain();
}

int32_t Gateway::requests_open() const { return implementation_->server.requests_open(); }

asio::awaitable<void> Gateway::close() {
  Implementation& parts = *implementation_;
  parts.generation.shut_down("The server is shutting down.");
  asio::steady_timer timer(parts.executor);
  parts.pool.close();
  // Half a second for the last words; then the connections are cut. Cancelled sessions need a few turns, and
  // those that have begun work on the pool refer to this until it is done.
  for (int turn = 0; turn < 50 && parts.server.requests_open() > 0; ++turn) {
    timer.expires_after(std::chrono::milliseconds(10));
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  parts.server.close();
  while (parts.server.connections() > 0) {
    timer.expires_after(std::chrono::milliseconds(10));
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

}  // namespace batchmax::coordinator
