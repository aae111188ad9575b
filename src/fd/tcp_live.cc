// TCP within the job: connections with what is under way in them, listeners with what waits in them, and threads that
// stand in calls on either.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include <vector>

#include "test/live/program/inet.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(tcp_connection_keeps_its_addresses_and_the_bytes_of_both_directions) {
  for (const int family : {AF_INET, AF_INET6}) {
    const TcpPair pair = make_tcp_pair(family);
    const Address client = own_address(pair.client), server = own_address(pair.server);
    write_all(pair.client, "to the server");
    write_all(pair.server, "to the client");
    freeze_point();
    EXPECT_EQ(own_address(pair.client), client);
    EXPECT_EQ(peer_address(pair.client), server);
    EXPECT_EQ(peer_address(pair.server), client);
    EXPECT_EQ(read_once(pair.server), "to the server");
    EXPECT_EQ(read_once(pair.client), "to the client");
    write_all(pair.server, "and on");
    EXPECT_EQ(read_once(pair.client), "and on");
  }
}

LIVE_TEST(tcp_listener_goes_on_and_so_does_accept) {
  const Fd listener = listening_socket(1);
  const Address address = own_address(listener);
  int accepted = -1;
  BlockedThread acceptor(SYS_accept, [&] { accepted = accept(listener, nullptr, nullptr); });
  freeze_point();
  EXPECT_EQ(own_address(listener), address);
  const Fd client = connected_socket(SOCK_STREAM, address);
  acceptor.join();
  EXPECT_GE(accepted, 0);
  const Fd server(accepted);
  write_all(client, "hello");
  EXPECT_EQ(read_once(server), "hello");
}

LIVE_TEST(tcp_connections_that_wait_are_accepted_in_their_order) {
  const Fd listener = listening_socket(8);
  std::vector<Fd> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(connected_socket(SOCK_STREAM, own_address(listener)));
    sleep_for(0.01);
  }
  freeze_point();
  for (const Fd& client : clients) {
    const Fd server(EXPECT_OK(accept(listener, nullptr, nullptr)));
    EXPECT_EQ(peer_address(server), own_address(client));
    write_all(client, "now");
    EXPECT_EQ(read_once(server), "now");
  }
}

LIVE_TEST(tcp_half_closed_connection_still_goes_the_other_way) {
  const TcpPair pair = make_tcp_pair();
  write_all(pair.client, "before the end");
  EXPECT_OK(shutdown(pair.client, SHUT_WR));
  freeze_point();
  EXPECT_EQ(read_once(pair.server), "before the end");
  EXPECT_EQ(read_once(pair.server), "");
  write_all(pair.server, "the other way");
  EXPECT_EQ(read_once(pair.client), "the other way");
  EXPECT_EQ(send(pair.client, "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

LIVE_TEST(tcp_connection_whose_other_end_is_closed_gives_what_was_sent_and_then_ends) {
  TcpPair pair = make_tcp_pair();
  write_all(pair.server, "farewell");
  pair.server.reset();
  freeze_point();
  EXPECT_EQ(read_once(pair.client), "farewell");
  EXPECT_EQ(read_once(pair.client), "");
}

LIVE_TEST(tcp_write_into_a_full_connection_ends_when_it_is_read) {
  const TcpPair pair = make_tcp_pair();
  set_option(pair.client, SOL_SOCKET, SO_SNDBUF, 65536);
  set_option(pair.server, SOL_SOCKET, SO_RCVBUF, 65536);
  const std::string bytes = pattern(8 << 20);
  ssize_t written = 0;
  BlockedThread writer(SYS_write, [&] { written = write(pair.client, bytes.data(), bytes.size()); });
  freeze_point();
  EXPECT_TRUE(read_exactly(pair.server, bytes.size()) == bytes);
  writer.join();
  EXPECT_EQ(written, static_cast<ssize_t>(bytes.size()));
}

LIVE_TEST(tcp_reader_goes_on_waiting_and_gets_what_comes) {
  const TcpPair pair = make_tcp_pair();
  std::string got;
  BlockedThread reader(SYS_read, [&] { got = read_once(pair.server); });
  freeze_point();
  EXPECT_TRUE(!reader.ended());
  write_all(pair.client, "late");
  reader.join();
  EXPECT_EQ(got, "late");
}

LIVE_TEST(tcp_epoll_set_still_watches_listener_and_connection) {
  const TcpPair pair = make_tcp_pair();
  const Fd set(EXPECT_OK(epoll_create1(0)));
  for (const int fd : {static_cast<int>(pair.listener), static_cast<int>(pair.server)}) {
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = fd;
    EXPECT_OK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
  }
  freeze_point();
  epoll_event event = {};
  EXPECT_EQ(epoll_wait(set, &event, 1, 0), 0);
  write_all(pair.client, "x");
  EXPECT_EQ(epoll_wait(set, &event, 1, 10'000), 1);
  EXPECT_EQ(event.data.fd, static_cast<int>(pair.server));
  EXPECT_EQ(read_once(pair.server), "x");
  const Fd other = connected_socket(SOCK_STREAM, own_address(pair.listener));
  EXPECT_EQ(epoll_wait(set, &event, 1, 10'000), 1);
  EXPECT_EQ(event.data.fd, static_cast<int>(pair.listener));
}

LIVE_TEST(tcp_options_are_kept) {
  const TcpPair pair = make_tcp_pair();
  set_option(pair.client, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(pair.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  set_option(pair.client, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(pair.client, IPPROTO_IP, IP_TOS, 0x10);
  set_option(pair.listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 3);
  set_option(pair.server, SOL_SOCKET, SO_RCVBUF, 50'000);
  freeze_point();
  EXPECT_EQ(get_option(pair.client, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(get_option(pair.client, IPPROTO_TCP, TCP_KEEPIDLE), 77);
  EXPECT_EQ(get_option(pair.client, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(get_option(pair.client, IPPROTO_IP, IP_TOS), 0x10);
  EXPECT_EQ(get_option(pair.listener, IPPROTO_TCP, TCP_DEFER_ACCEPT), 3);
  EXPECT_EQ(get_option(pair.listener, SOL_SOCKET, SO_REUSEADDR), 0);
  EXPECT_EQ(get_option(pair.server, SOL_SOCKET, SO_RCVBUF), 100'000);
}

LIVE_TEST(tcp_connect_that_was_refused_says_so_after_the_cut) {
  const Fd closed = bound_socket(SOCK_STREAM);
  const Address address = own_address(closed);
  const Fd client(EXPECT_OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)));
  EXPECT_EQ(connect(client, address.raw(), address.size), -1);
  EXPECT_EQ(errno, EINPROGRESS);
  freeze_point();
  EXPECT_EQ(get_option(client, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

LIVE_TEST(tcp_server_with_many_clients_goes_on) {
  const Fd listener = listening_socket(64);
  std::vector<Fd> clients, servers;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(connected_socket(SOCK_STREAM, own_address(listener)));
    servers.push_back(Fd(EXPECT_OK(accept(listener, nullptr, nullptr))));
    write_all(clients.back(), std::to_string(i));
  }
  freeze_point();
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(read_once(servers[static_cast<size_t>(i)]), std::to_string(i));
    EXPECT_EQ(peer_address(servers[static_cast<size_t>(i)]), own_address(clients[static_cast<size_t>(i)]));
  }
}

}  // namespace
}  // namespace live
