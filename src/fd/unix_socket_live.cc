// Unix sockets with names, listeners, what waits in their queues (connections, messages with their senders,
// descriptors, credentials), and who SO_PEERCRED says is at the other end, in one process and between several.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>

#include "test/live/program/descriptors.h"

namespace live {
namespace {

struct Address {
  explicit Address(std::string_view name = "") {
    raw.sun_family = AF_UNIX;
    std::memcpy(raw.sun_path, name.data(), name.size());
    bool path = !name.empty() && name[0] != '\0';
    size = static_cast<socklen_t>(sizeof(sa_family_t) + name.size() + (path ? 1 : 0));
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&raw); }
  std::string name() const { return std::string(raw.sun_path, size - sizeof(sa_family_t)); }
  sockaddr_un raw{};
  socklen_t size;
};

Fd bound_socket(int type, std::string_view name) {
  Fd fd(EXPECT_OK(socket(AF_UNIX, type, 0)));
  Address address(name);
  EXPECT_OK(bind(fd, address.get(), address.size));
  return fd;
}

Fd listener_at(int type, std::string_view name, int backlog) {
  Fd fd = bound_socket(type, name);
  EXPECT_OK(listen(fd, backlog));
  return fd;
}

Fd connected_socket(int type, std::string_view name) {
  Fd fd(EXPECT_OK(socket(AF_UNIX, type, 0)));
  Address address(name);
  EXPECT_OK(connect(fd, address.get(), address.size));
  return fd;
}

Fd accepted_from(int listener) { return Fd(EXPECT_OK(accept(listener, nullptr, nullptr))); }

std::string name_of(int fd) {
  Address address;
  address.size = sizeof(address.raw);
  EXPECT_OK(getsockname(fd, address.get(), &address.size));
  return address.name();
}

std::string peer_name_of(int fd) {
  Address address;
  address.size = sizeof(address.raw);
  EXPECT_OK(getpeername(fd, address.get(), &address.size));
  return address.name();
}

std::string with_end(const std::string& path) { return path + std::string(1, '\0'); }

struct Received {
  std::string text, sender;
  Fd descriptor;
  ucred credentials{};
};

Received receive(int fd, size_t most = 1000) {
  Received received;
  Address from;
  alignas(cmsghdr) char control[256] = {};
  received.text.resize(most);
  iovec vector{received.text.data(), most};
  msghdr message{};
  message.msg_name = from.get(), message.msg_namelen = sizeof(from.raw);
  message.msg_iov = &vector, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof(control);
  received.text.resize(static_cast<size_t>(EXPECT_OK(recvmsg(fd, &message, MSG_DONTWAIT))));
  from.size = message.msg_namelen;
  if (from.size > sizeof(sa_family_t)) received.sender = from.name();
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    int carried = -1;
    if (part->cmsg_type == SCM_RIGHTS) std::memcpy(&carried, CMSG_DATA(part), sizeof(carried));
    if (part->cmsg_type == SCM_CREDENTIALS)
      std::memcpy(&received.credentials, CMSG_DATA(part), sizeof(received.credentials));
    if (carried >= 0) received.descriptor = Fd(carried);
  }
  return received;
}

void send_with(int fd, std::string text, int carried) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec vector{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &vector, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &carried, sizeof(carried));
  EXPECT_EQ(sendmsg(fd, &message, 0), static_cast<ssize_t>(text.size()));
}

ucred peer_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
  return peer;
}

LIVE_TEST(listening_socket_is_found_under_its_name_and_accepts_those_that_waited) {
  const Scratch scratch;
  const std::string path = scratch.file("socket");
  const Fd listener = listener_at(SOCK_STREAM, path, 4);
  EXPECT_OK(chmod(path.c_str(), 0640));
  const Fd before = connected_socket(SOCK_STREAM, path);
  const Fd accepted = accepted_from(listener);
  const Fd first = connected_socket(SOCK_STREAM, path);
  const Fd second = connected_socket(SOCK_STREAM, path);
  EXPECT_OK(shutdown(second, SHUT_WR));
  freeze_point();
  struct stat file;
  EXPECT_OK(stat(path.c_str(), &file));
  EXPECT_EQ(file.st_mode, static_cast<mode_t>(S_IFSOCK | 0640));
  write_all(before, "before");
  EXPECT_EQ(read_once(accepted), "before");
  const Fd one = accepted_from(listener), two = accepted_from(listener);
  write_all(first, "first");
  EXPECT_EQ(read_once(one), "first");
  EXPECT_EQ(read_once(two), "");
  const Fd third = connected_socket(SOCK_STREAM, path);
  const Fd three = accepted_from(listener);
  write_all(three, "third");
  EXPECT_EQ(read_once(third), "third");
  EXPECT_EQ(name_of(one), with_end(path));
  EXPECT_EQ(peer_name_of(before), with_end(path));
}

LIVE_TEST(connection_whose_listener_and_file_are_gone_keeps_its_names_and_bytes) {
  const Scratch scratch;
  const std::string path = scratch.file("server"), client_path = scratch.file("client");
  Fd listener = listener_at(SOCK_SEQPACKET, path, 1);
  const Fd client = bound_socket(SOCK_SEQPACKET, client_path);
  Address server(path);
  EXPECT_OK(connect(client, server.get(), server.size));
  const Fd accepted = accepted_from(listener);
  listener.reset();
  EXPECT_OK(unlink(path.c_str()));
  write_all(client, "one");
  write_all(client, "two");
  write_all(accepted, "answer");
  freeze_point();
  EXPECT_EQ(name_of(accepted), with_end(path));
  EXPECT_EQ(peer_name_of(accepted), with_end(client_path));
  EXPECT_EQ(read_once(accepted), "one");
  EXPECT_EQ(read_once(accepted), "two");
  EXPECT_EQ(read_once(client), "answer");
  EXPECT_EQ(access(path.c_str(), F_OK), -1);
}

LIVE_TEST(abstract_and_relative_names_are_kept) {
  const Scratch scratch;
  const std::string abstract = std::string(1, '\0') + "stint live " + scratch.path();
  char before[4096];
  EXPECT_TRUE(getcwd(before, sizeof(before)) != nullptr);
  EXPECT_OK(chdir(scratch.path().c_str()));
  const Fd named = listener_at(SOCK_STREAM, abstract, 1);
  const Fd relative = bound_socket(SOCK_DGRAM, "here");
  freeze_point();
  EXPECT_EQ(name_of(named), abstract);
  EXPECT_EQ(name_of(relative), with_end("here"));
  const Fd client = connected_socket(SOCK_STREAM, abstract);
  const Fd accepted = accepted_from(named);
  const Fd sender = connected_socket(SOCK_DGRAM, scratch.file("here"));
  write_all(sender, "found");
  EXPECT_EQ(read_once(relative), "found");
  EXPECT_OK(chdir(before));
}

LIVE_TEST(datagrams_that_wait_show_who_sent_them) {
  const Scratch scratch;
  const std::string path = scratch.file("receiver"), here = scratch.file("here"), gone = scratch.file("gone");
  const Fd receiver = bound_socket(SOCK_DGRAM, path);
  Fd named = bound_socket(SOCK_DGRAM, here), leaving = bound_socket(SOCK_DGRAM, gone);
  const Fd nameless = connected_socket(SOCK_DGRAM, path);
  Address to(path);
  for (int sender : {int{named}, int{leaving}}) EXPECT_OK(sendto(sender, "x", 1, 0, to.get(), to.size));
  write_all(nameless, "y");
  leaving.reset();
  EXPECT_OK(unlink(gone.c_str()));
  freeze_point();
  EXPECT_EQ(receive(receiver).sender, with_end(here));
  EXPECT_EQ(receive(receiver).sender, with_end(gone));
  EXPECT_EQ(receive(receiver).sender, "");
  write_all(nameless, "z");
  EXPECT_EQ(receive(receiver).text, "z");
}

LIVE_TEST(descriptors_that_wait_in_a_message_come_out_as_they_went_in) {
  const Scratch scratch;
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  auto [read_end, write_end] = make_pipe();
  Fd event(EXPECT_OK(eventfd(7, EFD_NONBLOCK)));
  Fd file = open_file(scratch.file("file"), O_RDWR | O_CREAT);
  write_all(file, "content");
  EXPECT_OK(lseek(file, 3, SEEK_SET));
  write_all(write_end, "in the pipe");
  write_all(left, "plain");
  send_with(left, "pipe", read_end);
  send_with(left, "event", event);
  send_with(left, "file", file);
  read_end.reset(), event.reset(), file.reset();
  freeze_point();
  Received plain = receive(right, 5);
  EXPECT_EQ(plain.text, "plain");
  EXPECT_TRUE(plain.descriptor < 0);
  Received carried = receive(right);
  EXPECT_EQ(carried.text, "pipe");
  EXPECT_EQ(read_once(carried.descriptor), "in the pipe");
  write_all(write_end, "more");
  EXPECT_EQ(read_once(carried.descriptor), "more");
  uint64_t count = 0;
  carried = receive(right);
  EXPECT_EQ(::read(carried.descriptor, &count, sizeof(count)), static_cast<ssize_t>(sizeof(count)));
  EXPECT_EQ(count, 7u);
  carried = receive(right);
  EXPECT_EQ(read_once(carried.descriptor), "tent");
}

// Connects, sends a message when it is accepted and told to, and ends.
pid_t run_client(const std::string& path) {
  const pid_t child = EXPECT_OK(fork());
  if (child != 0) return child;
  const Fd client = connected_socket(SOCK_STREAM, path);
  read_once(client);
  write_all(client, "from the child");
  _exit(0);
}

LIVE_TEST(credentials_name_the_process_that_connected_though_it_has_ended) {
  const Scratch scratch;
  const Fd listener = listener_at(SOCK_STREAM, scratch.file("socket"), 1);
  const pid_t child = run_client(scratch.file("socket"));
  const Fd accepted = accepted_from(listener);
  write_all(accepted, "go");
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  freeze_point();
  EXPECT_EQ(peer_of(accepted).pid, child);
  EXPECT_EQ(peer_of(accepted).uid, geteuid());
  EXPECT_EQ(peer_of(listener).pid, getpid());
  EXPECT_EQ(read_once(accepted), "from the child");
  EXPECT_EQ(read_once(accepted), "");
}

LIVE_TEST(messages_name_the_process_that_sent_them) {
  const auto [left, right] = make_socketpair(SOCK_DGRAM);
  const int on = 1;
  EXPECT_OK(setsockopt(right, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  const auto [wait_read, wait_write] = make_pipe();
  const auto [ready_read, ready_write] = make_pipe();
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    write_all(left, "child");
    write_all(ready_write, "r");
    read_once(wait_read);
    _exit(0);
  }
  EXPECT_EQ(read_once(ready_read, 1), "r");
  write_all(left, "parent");
  freeze_point();
  EXPECT_EQ(receive(right).credentials.pid, child);
  const Received own = receive(right);
  EXPECT_EQ(own.credentials.pid, getpid());
  EXPECT_EQ(own.credentials.uid, geteuid());
  write_all(wait_write, "end");
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

LIVE_TEST(message_of_a_process_that_has_ended_still_names_it) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  const int on = 1;
  EXPECT_OK(setsockopt(right, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  write_all(left, "parent");
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    send_with(left, "child", left);
    _exit(0);
  }
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  freeze_point();
  const Received own = receive(right);
  EXPECT_EQ(own.text, "parent");
  EXPECT_EQ(own.credentials.pid, getpid());
  const Received carried = receive(right);
  EXPECT_EQ(carried.text, "child");
  EXPECT_EQ(carried.credentials.pid, child);
  write_all(carried.descriptor, "same socket");
  EXPECT_EQ(receive(right).text, "same socket");
}

LIVE_TEST(connection_between_two_processes_goes_on) {
  const Scratch scratch;
  const Fd listener = listener_at(SOCK_STREAM, scratch.file("socket"), 2);
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    const Fd client = connected_socket(SOCK_STREAM, scratch.file("socket"));
    for (std::string line; (line = read_once(client)) != "end";) write_all(client, line + "!");
    _exit(peer_of(client).pid == getppid() ? 0 : 1);
  }
  const Fd accepted = accepted_from(listener);
  write_all(accepted, "ready");
  EXPECT_EQ(read_once(accepted), "ready!");
  freeze_point();
  EXPECT_EQ(peer_of(accepted).pid, child);
  write_all(accepted, "again");
  EXPECT_EQ(read_once(accepted), "again!");
  write_all(accepted, "end");
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

LIVE_TEST_THAT_NEEDS(what_was_sent_before_anybody_accepted_is_refused, Needs::kRefusal) {
  const Scratch scratch;
  const Fd listener = listener_at(SOCK_STREAM, scratch.file("socket"), 1);
  const Fd client = connected_socket(SOCK_STREAM, scratch.file("socket"));
  write_all(client, "early");
  freeze_point();
  const Fd accepted = accepted_from(listener);
  EXPECT_EQ(read_once(accepted), "early");
}

}  // namespace
}  // namespace live
