// Requests to a server with OpenAI's API, each over a connection of its own. Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "coordinator/client/server_address.h"

namespace batchmax::coordinator {

// What went wrong and what to do, in one line.
class ClientError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class ApiClient {
 public:
  // Throws ClientError where the file of --ca-file cannot be read.
  ApiClient(boost::asio::any_io_executor executor, ServerAddress address);
  ~ApiClient();

  // The body of a 200 answer; path: "/v1/models". Throws ClientError.
  boost::asio::awaitable<std::string> get(std::string path);

  // Sends a request with "stream": true and hands over the data of each event, up to [DONE]. Throws
  // ClientError, also where the stream ends without it; what on_event throws goes through.
  boost::asio::awaitable<void> stream(std::string path, std::string body,
                                      std::function<void(std::string_view)> on_event);

  // Closes the connections of the requests that run: they throw, and the server frees what they held.
  void cancel();

 private:
  struct Transport;
  std::unique_ptr<Transport> transport_;
};

// The name of the model to ask for: the one given, else the first of /v1/models. Waits for it; throws
// ClientError.
std::string find_model(const ServerAddress& server, const std::string& given);

}  // namespace batchmax::coordinator
