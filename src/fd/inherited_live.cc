// Descriptors that several processes have of one open file description: position and status flags belong to all of
// them; close-on-exec and the number to each. And descriptions that look alike and are two.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include <list>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(position_of_an_inherited_file_is_one) {
  const Scratch scratch;
  write_whole(scratch.file("file"), "0123456789");
  const Fd file = open_file(scratch.file("file"), O_RDONLY);
  Child child([&](Line& line) {
    EXPECT_EQ(read_once(file, 2), "01");
    line.stand_by();
    EXPECT_EQ(read_once(file, 2), "45");
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_EQ(read_once(file, 2), "23");
  child.finish();
  EXPECT_EQ(read_once(file, 2), "67");
}

LIVE_TEST(files_opened_by_each_have_positions_of_their_own) {
  const Scratch scratch;
  write_whole(scratch.file("file"), "0123456789");
  const Fd file = open_file(scratch.file("file"), O_RDONLY);
  Child child([&](Line& line) {
    const Fd own = open_file(scratch.file("file"), O_RDONLY);
    line.stand_by();
    EXPECT_EQ(read_once(own, 3), "012");
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_EQ(read_once(file, 4), "0123");
  child.finish();
  EXPECT_EQ(read_once(file, 4), "4567");
}

LIVE_TEST(both_append_to_a_log_and_lose_no_line) {
  const Scratch scratch;
  const Fd log = open_file(scratch.file("log"), O_WRONLY | O_CREAT);
  write_all(log, "a\n");
  Child child([&](Line& line) {
    write_all(log, "b\n");
    line.stand_by();
    write_all(log, "d\n");
    return 0;
  });
  child.await();
  freeze_point();
  write_all(log, "c\n");
  child.finish();
  write_all(log, "e\n");
  EXPECT_EQ(read_whole(scratch.file("log")), "a\nb\nc\nd\ne\n");
}

LIVE_TEST(status_flags_belong_to_all_and_close_on_exec_to_each) {
  const Ends pipe = make_pipe();
  Child child([&](Line& line) {
    EXPECT_OK(fcntl(pipe.read, F_SETFD, FD_CLOEXEC));
    line.stand_by();
    EXPECT_EQ(EXPECT_OK(fcntl(pipe.read, F_GETFD)), FD_CLOEXEC);
    errno = 0;
    char byte;
    EXPECT_EQ(read(pipe.read, &byte, 1), -1);
    EXPECT_EQ(errno, EAGAIN);
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_EQ(EXPECT_OK(fcntl(pipe.read, F_GETFD)), 0);
  EXPECT_OK(fcntl(pipe.read, F_SETFL, O_NONBLOCK));
  child.finish();
}

LIVE_TEST(one_description_has_other_numbers_in_other_processes) {
  const Scratch scratch;
  write_whole(scratch.file("file"), "0123456789");
  Fd file = open_file(scratch.file("file"), O_RDONLY);
  const int number = file;
  Child child([&](Line& line) {
    const Fd moved(EXPECT_OK(dup2(file, 500)));
    EXPECT_OK(dup2(line.in(), number));  // What the parent has the file at is a pipe here.
    line.stand_by();
    EXPECT_EQ(read_once(moved, 1), "0");
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
  EXPECT_EQ(read_once(file, 1), "1");
}

LIVE_TEST(description_that_only_a_child_still_has) {
  const Scratch scratch;
  write_whole(scratch.file("file"), "0123456789");
  Fd file = open_file(scratch.file("file"), O_RDWR);
  Ends pipe = make_pipe();
  write_all(pipe.write, "queued");
  Child child([&](Line& line) {
    line.stand_by();
    EXPECT_EQ(read_once(file, 3), "123");
    EXPECT_EQ(read_once(pipe.read), "queued");
    write_all(pipe.write, "again");
    EXPECT_EQ(read_once(pipe.read), "again");
    return 0;
  });
  child.await();
  EXPECT_EQ(read_once(file, 1), "0");
  file.reset();
  pipe.read.reset();
  pipe.write.reset();
  freeze_point();
  child.finish();
}

// ---- Pipes and sockets between processes

LIVE_TEST(pipe_from_child_to_parent_keeps_what_is_in_it_and_ends_with_the_child) {
  Ends pipe = make_pipe();
  Child child([&](Line& line) {
    pipe.read.reset();
    write_all(pipe.write, "before ");
    line.stand_by();
    write_all(pipe.write, "after");
    return 0;
  });
  pipe.write.reset();
  child.await();
  freeze_point();
  EXPECT_EQ(read_once(pipe.read), "before ");
  child.finish();
  EXPECT_EQ(read_once(pipe.read), "after");
  EXPECT_EQ(read_once(pipe.read), "");
}

LIVE_TEST(writer_of_a_full_pipe_in_another_process_goes_on) {
  Ends pipe = make_pipe();
  const std::string content = pattern(300'000);
  Child child([&](Line& line) {
    pipe.read.reset();
    line.say("here");
    EXPECT_EQ(EXPECT_OK(write(pipe.write, content.data(), content.size())), static_cast<ssize_t>(content.size()));
    EXPECT_EQ(line.hear(), "go on");
    return 0;
  });
  pipe.write.reset();
  child.await();
  wait_until_process_blocked(child.pid(), SYS_write);
  freeze_point();
  EXPECT_TRUE(read_exactly(pipe.read, content.size()) == content);
  child.finish();
}

LIVE_TEST(several_readers_of_one_pipe_get_every_byte_once) {
  const Ends pipe = make_pipe();
  std::list<Child> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&](Line& line) {
      line.say("here");
      int sum = 0;
      for (;;) {
        const std::string byte = read_once(pipe.read, 1);
        if (byte == "\xff") break;
        sum += static_cast<unsigned char>(byte[0]);
      }
      line.say(std::to_string(sum));
      return 0;
    });
  }
  for (Child& reader : readers) reader.await();
  std::string bytes;
  for (int i = 0; i < 200; ++i) bytes += static_cast<char>(i);
  write_all(pipe.write, bytes.substr(0, 100));
  freeze_point();
  write_all(pipe.write, bytes.substr(100) + std::string(4, '\xff'));
  int sum = 0;
  for (Child& reader : readers) sum += std::stoi(reader.line().hear());
  EXPECT_EQ(sum, 199 * 200 / 2);
  for (Child& reader : readers) EXPECT_EQ(reader.wait_status(), 0);
}

LIVE_TEST(fifo_opened_by_two_processes) {
  const Scratch scratch;
  const std::string path = scratch.file("fifo");
  EXPECT_OK(mkfifo(path.c_str(), 0600));
  Child child([&](Line& line) {
    const Fd write_end = open_file(path, O_WRONLY);
    write_all(write_end, "before ");
    line.stand_by();
    write_all(write_end, "after");
    return 0;
  });
  const Fd read_end = open_file(path, O_RDONLY);
  child.await();
  freeze_point();
  EXPECT_EQ(read_once(read_end), "before ");
  child.finish();
  EXPECT_EQ(read_once(read_end), "after");
  EXPECT_EQ(read_once(read_end), "");
}

void expect_socket_pair_kept(int type) {
  Ends pair = make_socketpair(type);
  Child child([&](Line& line) {
    pair.read.reset();
    write_all(pair.write, "one");
    write_all(pair.write, "two");
    line.stand_by();
    EXPECT_EQ(read_once(pair.write), "answer");
    write_all(pair.write, "three");
    return 0;
  });
  pair.write.reset();
  child.await();
  freeze_point();
  if (type == SOCK_STREAM) {
    EXPECT_EQ(read_exactly(pair.read, 6), "onetwo");
  } else {
    EXPECT_EQ(read_once(pair.read), "one");
    EXPECT_EQ(read_once(pair.read), "two");
  }
  write_all(pair.read, "answer");
  child.finish();
  EXPECT_EQ(read_once(pair.read), "three");
  if (type != SOCK_DGRAM) EXPECT_EQ(read_once(pair.read), "");
}

LIVE_TEST(stream_socket_pair_between_processes) { expect_socket_pair_kept(SOCK_STREAM); }
LIVE_TEST(packet_socket_pair_between_processes) { expect_socket_pair_kept(SOCK_SEQPACKET); }
LIVE_TEST(datagram_socket_pair_between_processes) { expect_socket_pair_kept(SOCK_DGRAM); }

// ---- Descriptors passed in messages

void send_descriptor(int socket, int fd) {
  char byte = 'd';
  iovec data = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof(int));
  *reinterpret_cast<int*>(CMSG_DATA(header)) = fd;
  EXPECT_OK(sendmsg(socket, &message, 0));
}

Fd receive_descriptor(int socket) {
  char byte = 0;
  iovec data = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  EXPECT_EQ(EXPECT_OK(recvmsg(socket, &message, MSG_CMSG_CLOEXEC)), 1);
  EXPECT_TRUE(CMSG_FIRSTHDR(&message) != nullptr);
  return Fd(*reinterpret_cast<int*>(CMSG_DATA(CMSG_FIRSTHDR(&message))));
}

LIVE_TEST(descriptor_that_was_passed_shares_its_description) {
  const Scratch scratch;
  write_whole(scratch.file("file"), "0123456789");
  const Ends pair = make_socketpair(SOCK_STREAM);
  Child child([&](Line& line) {
    const Fd file = receive_descriptor(pair.write);
    EXPECT_EQ(read_once(file, 2), "01");
    line.stand_by();
    EXPECT_EQ(read_once(file, 2), "45");
    return 0;
  });
  const Fd file = open_file(scratch.file("file"), O_RDONLY);
  send_descriptor(pair.read, file);
  child.await();
  freeze_point();
  EXPECT_EQ(read_once(file, 2), "23");
  child.finish();
}

LIVE_TEST(descriptor_on_its_way_to_another_process_arrives) {
  const Ends pair = make_socketpair(SOCK_STREAM);
  Child child([&](Line& line) {
    line.stand_by();
    const Fd read_end = receive_descriptor(pair.write);
    EXPECT_EQ(read_once(read_end), "through it");
    return 0;
  });
  child.await();
  const Ends pipe = make_pipe();
  send_descriptor(pair.read, pipe.read);
  freeze_point();
  write_all(pipe.write, "through it");
  child.finish();
}

// ---- Kernel objects without a name

LIVE_TEST(eventfd_counts_for_all_processes) {
  const Fd event(EXPECT_OK(eventfd(0, EFD_SEMAPHORE)));
  std::list<Child> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&](Line& line) {
      line.say("here");
      eventfd_t value = 0;
      EXPECT_OK(eventfd_read(event, &value));
      EXPECT_EQ(value, 1U);
      EXPECT_EQ(line.hear(), "go on");
      return 0;
    });
  }
  for (Child& waiter : waiters) {
    waiter.await();
    wait_until_process_blocked(waiter.pid(), SYS_read);
  }
  freeze_point();
  EXPECT_OK(eventfd_write(event, 3));
  for (Child& waiter : waiters) waiter.finish();
}

LIVE_TEST(epoll_set_of_the_parent_is_waited_for_in_the_child) {
  const Fd set(EXPECT_OK(epoll_create1(0)));
  const Ends pipe = make_pipe();
  epoll_event event = {};
  event.events = EPOLLIN, event.data.u64 = 77;
  EXPECT_OK(epoll_ctl(set, EPOLL_CTL_ADD, pipe.read, &event));
  Child child([&](Line& line) {
    line.say("here");
    epoll_event got = {};
    EXPECT_EQ(EXPECT_OK(epoll_wait(set, &got, 1, -1)), 1);
    EXPECT_EQ(got.data.u64, 77U);
    EXPECT_EQ(line.hear(), "go on");
    return 0;
  });
  child.await();
  wait_until_process_blocked(child.pid(), SYS_epoll_wait);
  freeze_point();
  write_all(pipe.write, "x");
  child.finish();
}

LIVE_TEST(epoll_set_watches_what_only_the_other_process_has) {
  const Fd set(EXPECT_OK(epoll_create1(0)));
  Ends pipe = make_pipe();
  epoll_event event = {};
  event.events = EPOLLIN, event.data.u64 = 78;
  EXPECT_OK(epoll_ctl(set, EPOLL_CTL_ADD, pipe.read, &event));
  Child child([&](Line& line) {
    line.stand_by();
    write_all(pipe.write, "x");
    line.stand_by();
    return 0;
  });
  child.await();
  pipe.read.reset();
  pipe.write.reset();
  freeze_point();
  child.go_on();
  child.await();
  epoll_event got = {};
  EXPECT_EQ(EXPECT_OK(epoll_wait(set, &got, 1, 5000)), 1);
  EXPECT_EQ(got.data.u64, 78U);
  child.finish();
}

LIVE_TEST(timerfd_set_by_the_parent_is_read_in_the_child) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  itimerspec time = {};
  time.it_value.tv_nsec = 30'000'000;
  EXPECT_OK(timerfd_settime(timer, 0, &time, nullptr));
  Child child([&](Line& line) {
    line.say("here");
    uint64_t expired = 0;
    EXPECT_OK(read(timer, &expired, sizeof expired));
    EXPECT_EQ(expired, 1U);
    EXPECT_EQ(line.hear(), "go on");
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

// ---- Locks

LIVE_TEST(whole_file_lock_is_shared_by_those_who_inherited_it) {
  const Scratch scratch;
  Fd file = open_file(scratch.file("locked"), O_RDWR | O_CREAT);
  EXPECT_OK(flock(file, LOCK_EX));
  Child child([&](Line& line) {
    line.stand_by();
    const Fd own = open_file(scratch.file("locked"), O_RDWR);
    errno = 0;
    EXPECT_EQ(flock(own, LOCK_EX | LOCK_NB), -1);
    EXPECT_EQ(errno, EWOULDBLOCK);
    file.reset();
    EXPECT_OK(flock(own, LOCK_EX | LOCK_NB));
    return 0;
  });
  child.await();
  file.reset();
  freeze_point();
  child.finish();
}

LIVE_TEST(record_lock_of_one_process_keeps_the_other_out) {
  const Scratch scratch;
  const Fd file = open_file(scratch.file("locked"), O_RDWR | O_CREAT);
  struct flock lock = {};
  lock.l_type = F_WRLCK, lock.l_whence = SEEK_SET, lock.l_start = 10, lock.l_len = 5;
  Child holder([&](Line& line) {
    EXPECT_OK(fcntl(file, F_SETLK, &lock));
    line.stand_by();
    return 0;
  });
  holder.await();
  Child waiter([&](Line& line) {
    line.say("here");
    EXPECT_OK(fcntl(file, F_SETLKW, &lock));
    EXPECT_EQ(line.hear(), "go on");
    return 0;
  });
  waiter.await();
  wait_until_process_blocked(waiter.pid(), SYS_fcntl);
  freeze_point();
  struct flock asked = lock;
  EXPECT_OK(fcntl(file, F_GETLK, &asked));
  EXPECT_EQ(asked.l_type, F_WRLCK);
  EXPECT_EQ(asked.l_pid, holder.pid());
  holder.finish();
  waiter.finish();
}

// ---- Signals for descriptors

std::atomic<int> ready = 0;
void note(int, siginfo_t*, void*) { ++ready; }

LIVE_TEST(owner_of_a_descriptor_is_another_process) {
  ready = 0;
  const Handler handler(SIGUSR1, note, SA_RESTART);
  Ends pair = make_socketpair(SOCK_STREAM);
  Child child([&](Line& line) {
    line.stand_by();
    while (ready == 0) sleep_for(0.001);
    return 0;
  });
  child.await();
  EXPECT_OK(fcntl(pair.read, F_SETSIG, SIGUSR1));
  EXPECT_OK(fcntl(pair.read, F_SETOWN, child.pid()));
  EXPECT_OK(fcntl(pair.read, F_SETFL, O_ASYNC));
  freeze_point();
  EXPECT_EQ(EXPECT_OK(fcntl(pair.read, F_GETOWN)), child.pid());
  child.go_on();
  write_all(pair.write, "x");
  EXPECT_EQ(child.wait_status(), 0);
  EXPECT_EQ(ready.load(), 0);
}

}  // namespace
}  // namespace live
