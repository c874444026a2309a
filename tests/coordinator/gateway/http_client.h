// A blocking HTTP client that can also misbehave: sends any bytes, reads slowly or not at all, leaves at any
// time. With TLS where it is told to.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace batchmax::coordinator {

struct ClientAnswer {
  int status = 0;
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;                           // chunks joined

  boost::json::value json() const { return boost::json::parse(body); }
  std::string error_code() const { return std::string(json().at("error").at("code").as_string()); }
  // Payloads of the data lines of server-sent events.
  std::vector<std::string> events() const {
    std::vector<std::string> found;
    for (size_t at = 0; at < body.size();) {
      const size_t end = body.find("\n\n", at);
      if (end == std::string::npos)
        throw std::runtime_error("an event does not end with an empty line: " + body.substr(at));
      const std::string event = body.substr(at, end - at);
      if (event.starts_with("data: ")) found.push_back(event.substr(6));
      at = end + 2;
    }
    return found;
  }
};

class HttpClient {
 public:
  explicit HttpClient(uint16_t port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0)
      setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    timeval patience{20, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
      throw std::runtime_error("connect");
  }
  // `tls` outlives the client. Throws where the handshake fails.
  HttpClient(uint16_t port, SSL_CTX* tls) : HttpClient(port) {
    signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
    tls_ = SSL_new(tls);
    SSL_set_fd(tls_, socket_);
    if (SSL_connect(tls_) != 1) throw std::runtime_error("TLS handshake");
  }
  ~HttpClient() { leave(); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void leave() {
    SSL_free(std::exchange(tls_, nullptr));
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  void end_sending() { ::shutdown(socket_, SHUT_WR); }

  void send(const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const char* rest = bytes.data() + sent;
      const size_t left = bytes.size() - sent;
      const ssize_t count = tls_ != nullptr ? SSL_write(tls_, rest, static_cast<int>(left))
                                            : ::send(socket_, rest, left, MSG_NOSIGNAL);
      if (count <= 0) throw std::runtime_error("send");
      sent += static_cast<size_t>(count);
    }
  }
  void post(const std::string& path, const std::string& body, const std::string& fields = "") {
    send("POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  void get(const std::string& path, const std::string& fields = "") {
    send("GET " + path + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n");
  }

  // True: the other side has closed and nothing more was sent.
  bool at_end() { return received_.empty() && !receive(); }

  // TLS: the other side said that it ends, rather than just being gone.
  bool ended_with_notice() const { return (SSL_get_shutdown(tls_) & SSL_RECEIVED_SHUTDOWN) != 0; }

  // What has come so far, once it holds `text`.
  std::string wait_for(const std::string& text) {
    while (received_.find(text) == std::string::npos) {
      if (!receive()) throw std::runtime_error("closed before '" + text + "' came: " + received_);
    }
    return received_;
  }

  // Everything up to the end.
  std::string read_all() {
    while (receive()) {
    }
    return std::exchange(received_, {});
  }

  // Status and fields: all there is of an answer to HEAD.
  ClientAnswer read_head() {
    ClientAnswer answer;
    wait_for("\r\n\r\n");
    const size_t end = received_.find("\r\n\r\n");
    std::string head = received_.substr(0, end + 2);
    received_.erase(0, end + 4);
    answer.status = std::stoi(head.substr(9, 3));
    for (size_t at = head.find("\r\n") + 2; at < head.size();) {
      const size_t line = head.find("\r\n", at);
      const size_t colon = head.find(": ", at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(tolower(c));
      answer.fields[name] = head.substr(colon + 2, line - colon - 2);
      at = line + 2;
    }
    return answer;
  }

  ClientAnswer read() {
    ClientAnswer answer = read_head();
    if (answer.fields.contains("content-length")) {
      answer.body = take(std::stoul(answer.fields["content-length"]));
    } else if (answer.fields.contains("transfer-encoding")) {
      for (;;) {
        wait_for("\r\n");
        const size_t line = received_.find("\r\n");
        const size_t size = std::stoul(received_.substr(0, line), nullptr, 16);
        received_.erase(0, line + 2);
        answer.body += take(size);
        take(2);
        if (size == 0) break;
      }
    } else if (answer.status != 100) {
      while (receive()) {
      }
      answer.body = std::exchange(received_, {});
    }
    return answer;
  }

 private:
  bool receive() {
    char bytes[65536];
    const ssize_t count =
        tls_ != nullptr ? SSL_read(tls_, bytes, sizeof(bytes)) : recv(socket_, bytes, sizeof(bytes), 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      throw std::runtime_error("nothing came for 20 s");
    if (count <= 0) return false;
    received_.append(bytes, static_cast<size_t>(count));
    return true;
  }
  std::string take(size_t count) {
    while (received_.size() < count) {
      if (!receive()) throw std::runtime_error("closed inside a body");
    }
    std::string taken = received_.substr(0, count);
    received_.erase(0, count);
    return taken;
  }

  int socket_;
  SSL* tls_ = nullptr;
  std::string received_;
};

}  // namespace batchmax::coordinator
