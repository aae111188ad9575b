// POSIX message queues: what waits in them, and who waits for it.
#include <mqueue.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

std::string own_name(const char* what) { return "/stint-live-" + std::string(what) + "-" + std::to_string(getpid()); }

Fd open_queue(const std::string& name, int flags, long messages = 5, long size = 100) {
  mq_attr attributes = {};
  attributes.mq_maxmsg = messages, attributes.mq_msgsize = size;
  return Fd(EXPECT_OK(mq_open(name.c_str(), flags, 0600, &attributes)));
}

// "5 text"; "" when there is none.
std::string receive(int queue) {
  char text[100];
  unsigned priority = 0;
  const ssize_t size = mq_receive(queue, text, sizeof text, &priority);
  if (size == -1 && errno == EAGAIN) return "";
  return std::to_string(priority) + " " + std::string(text, static_cast<size_t>(EXPECT_OK(size)));
}

LIVE_TEST(posix_message_queue_keeps_its_messages_by_priority_and_age) {
  const std::string name = own_name("kept");
  const Fd queue = open_queue(name, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK);
  const Fd reader = open_queue(name, O_RDONLY | O_NONBLOCK);
  EXPECT_OK(mq_send(queue, "low", 3, 1));
  EXPECT_OK(mq_send(queue, "high", 4, 9));
  EXPECT_OK(mq_send(queue, "", 0, 1));
  freeze_point();
  mq_attr attributes;
  EXPECT_OK(mq_getattr(queue, &attributes));
  EXPECT_EQ(attributes.mq_maxmsg, 5);
  EXPECT_EQ(attributes.mq_msgsize, 100);
  EXPECT_EQ(attributes.mq_curmsgs, 3);
  EXPECT_EQ(mq_send(reader, "x", 1, 0), -1);
  EXPECT_EQ(receive(reader), "9 high");
  EXPECT_EQ(receive(queue), "1 low");
  EXPECT_EQ(receive(queue), "1 ");
  EXPECT_EQ(receive(queue), "");
  EXPECT_OK(mq_unlink(name.c_str()));
}

LIVE_TEST(posix_message_queue_that_nobody_has_open_is_there) {
  const std::string name = own_name("alone");
  {
    const Fd queue = open_queue(name, O_CREAT | O_EXCL | O_RDWR);
    EXPECT_OK(mq_send(queue, "left", 4, 3));
  }
  freeze_point();
  const Fd queue = open_queue(name, O_RDWR | O_NONBLOCK);
  EXPECT_EQ(receive(queue), "3 left");
  EXPECT_OK(mq_unlink(name.c_str()));
}

LIVE_TEST(posix_message_queue_receiver_that_waits_gets_the_next_message) {
  const std::string name = own_name("waited");
  const Fd queue = open_queue(name, O_CREAT | O_EXCL | O_RDWR);
  std::string got;
  BlockedThread receiver(SYS_mq_timedreceive, [&] { got = receive(queue); });
  freeze_point();
  EXPECT_OK(mq_send(queue, "late", 4, 2));
  receiver.join();
  EXPECT_EQ(got, "2 late");
  EXPECT_OK(mq_unlink(name.c_str()));
}

LIVE_TEST_THAT_NEEDS(posix_message_queue_that_notifies_is_refused_and_does_so, Needs::kRefusal) {
  const Blocked blocked({SIGUSR1});
  const std::string name = own_name("notifies");
  const Fd queue = open_queue(name, O_CREAT | O_EXCL | O_RDWR);
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL, event.sigev_signo = SIGUSR1, event.sigev_value.sival_int = 4711;
  EXPECT_OK(mq_notify(queue, &event));
  freeze_point();
  EXPECT_OK(mq_send(queue, "x", 1, 0));
  const sigset_t wanted = set_of({SIGUSR1});
  siginfo_t info = {};
  EXPECT_EQ(sigwaitinfo(&wanted, &info), SIGUSR1);
  EXPECT_EQ(info.si_value.sival_int, 4711);
  EXPECT_OK(mq_unlink(name.c_str()));
}

}  // namespace
}  // namespace live
