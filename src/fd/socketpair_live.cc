// Unix socket pairs within the process: what is queued each way, message bounds, half-closed ends, options, and that a
// socket is still connected to its own peer.
#include <sys/socket.h>
#include <sys/time.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(stream_socketpair_keeps_the_bytes_of_both_directions) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  write_all(left, "to the right");
  write_all(right, "to the left");
  freeze_point();
  EXPECT_EQ(read_once(right), "to the right");
  EXPECT_EQ(read_once(left), "to the left");
  write_all(left, "and on");
  EXPECT_EQ(read_once(right), "and on");
}

LIVE_TEST(datagram_socketpair_keeps_the_bounds_of_its_messages) {
  const auto [left, right] = make_socketpair(SOCK_DGRAM);
  write_all(left, "first");
  EXPECT_EQ(send(left, "", 0, 0), 0);
  write_all(left, "third");
  freeze_point();
  EXPECT_EQ(read_once(right), "first");
  EXPECT_EQ(read_once(right), "");
  EXPECT_EQ(read_once(right), "third");
  write_all(right, "answer");
  EXPECT_EQ(read_once(left), "answer");
}

LIVE_TEST(seqpacket_socketpair_keeps_the_bounds_of_its_messages) {
  const auto [left, right] = make_socketpair(SOCK_SEQPACKET);
  write_all(right, "ab");
  write_all(right, "cdef");
  freeze_point();
  EXPECT_EQ(read_once(left), "ab");
  EXPECT_EQ(read_once(left), "cdef");
  int type = 0;
  socklen_t size = sizeof type;
  EXPECT_OK(getsockopt(left, SOL_SOCKET, SO_TYPE, &type, &size));
  EXPECT_EQ(type, SOCK_SEQPACKET);
}

LIVE_TEST(socketpair_keeps_much_queued_data) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  const std::string bytes = pattern(100'000);
  write_all(left, bytes);
  freeze_point();
  EXPECT_TRUE(read_exactly(right, bytes.size()) == bytes);
}

LIVE_TEST(half_closed_socket_still_receives_and_no_longer_sends) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  write_all(left, "before the end");
  EXPECT_OK(shutdown(left, SHUT_WR));
  freeze_point();
  EXPECT_EQ(read_once(right), "before the end");
  EXPECT_EQ(read_once(right), "");
  write_all(right, "the other way");
  EXPECT_EQ(read_once(left), "the other way");
  EXPECT_EQ(send(left, "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

LIVE_TEST(socket_whose_peer_is_closed_gives_what_was_queued_and_then_ends) {
  auto [left, right] = make_socketpair(SOCK_STREAM);
  write_all(right, "farewell");
  right.reset();
  freeze_point();
  EXPECT_EQ(read_once(left), "farewell");
  EXPECT_EQ(read_once(left), "");
  EXPECT_EQ(send(left, "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

LIVE_TEST(socket_options_are_kept) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  const int wanted = 50'000;
  EXPECT_OK(setsockopt(left, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted));
  EXPECT_OK(setsockopt(right, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof wanted));
  const timeval timeout = {7, 0};
  EXPECT_OK(setsockopt(right, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
  freeze_point();
  int size = 0;
  socklen_t length = sizeof size;
  EXPECT_OK(getsockopt(left, SOL_SOCKET, SO_SNDBUF, &size, &length));
  EXPECT_EQ(size, 2 * wanted);
  EXPECT_OK(getsockopt(right, SOL_SOCKET, SO_RCVBUF, &size, &length));
  EXPECT_EQ(size, 2 * wanted);
  timeval kept;
  length = sizeof kept;
  EXPECT_OK(getsockopt(right, SOL_SOCKET, SO_RCVTIMEO, &kept, &length));
  EXPECT_EQ(kept.tv_sec, 7);
}

LIVE_TEST(socket_credentials_name_this_process) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  freeze_point();
  ucred peer = {};
  socklen_t size = sizeof peer;
  EXPECT_OK(getsockopt(left, SOL_SOCKET, SO_PEERCRED, &peer, &size));
  EXPECT_EQ(peer.pid, getpid());
  EXPECT_EQ(peer.uid, geteuid());
}

}  // namespace
}  // namespace live
