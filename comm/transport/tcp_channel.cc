#include "comm/transport/channel.h"
#include "comm/transport/stream_channel.h"

namespace batchmax::comm {

using boost::asio::ip::tcp;

std::string describe_peer(const tcp::socket& socket) {
  boost::system::error_code error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return "a peer that has gone";
  const std::string address = peer.address().to_string();
  return (peer.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(peer.port());
}

std::unique_ptr<Channel> make_tcp_channel(tcp::socket socket) {
  return std::make_unique<StreamChannel<tcp::socket>>(std::move(socket));
}

}  // namespace batchmax::comm
