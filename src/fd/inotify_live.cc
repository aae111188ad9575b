// inotify: watches, their numbers and masks; what happens between a checkpoint and its restart is nobody's event.
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

// "3 200 name" for each event that waits: the number of the watch, the mask, what it was about.
std::string events_of(int inotify) {
  alignas(inotify_event) char buffer[4096];
  std::string text;
  const ssize_t size = EXPECT_OK(read(inotify, buffer, sizeof buffer));
  for (ssize_t at = 0; at < size;) {
    const inotify_event* event = reinterpret_cast<const inotify_event*>(buffer + at);
    std::ostringstream line;
    line << event->wd << " " << std::hex << event->mask << " " << (event->len == 0 ? "" : event->name) << ";";
    text += line.str();
    at += static_cast<ssize_t>(sizeof(*event) + event->len);
  }
  return text;
}

bool has_events(int inotify) {
  int bytes = 0;
  EXPECT_OK(ioctl(inotify, FIONREAD, &bytes));
  return bytes != 0;
}

// Works in a directory of its own, by which stint finds what is below it.
class In {
 public:
  explicit In(const Scratch& scratch) : before_(open_file(".", O_RDONLY | O_DIRECTORY)) {
    EXPECT_OK(chdir(scratch.path().c_str()));
  }
  ~In() { EXPECT_OK(fchdir(before_)); }

 private:
  Fd before_;
};

LIVE_TEST(inotify_watches_what_it_watched_under_the_same_numbers) {
  const Scratch scratch;
  const In here(scratch);
  EXPECT_OK(mkdir("tree", 0700));
  EXPECT_OK(mkdir("tree/below", 0700));
  write_whole("file", "");
  const Fd inotify(EXPECT_OK(inotify_init1(IN_CLOEXEC)));
  const int passing = EXPECT_OK(inotify_add_watch(inotify, "/", IN_DELETE_SELF));
  EXPECT_EQ(EXPECT_OK(inotify_add_watch(inotify, "tree", IN_CREATE)), passing + 1);
  EXPECT_OK(inotify_rm_watch(inotify, passing));
  EXPECT_EQ(events_of(inotify), "1 8000 ;");
  EXPECT_EQ(EXPECT_OK(inotify_add_watch(inotify, "tree/below", IN_CREATE | IN_DELETE)), passing + 2);
  EXPECT_EQ(EXPECT_OK(inotify_add_watch(inotify, "file", IN_CLOSE_WRITE)), passing + 3);
  freeze_point();
  EXPECT_FALSE(has_events(inotify));
  write_whole("tree/one", "");
  EXPECT_EQ(events_of(inotify), "2 100 one;");
  write_whole("tree/below/two", "");
  EXPECT_OK(unlink("tree/below/two"));
  EXPECT_EQ(events_of(inotify), "3 100 two;3 200 two;");
  write_whole("file", "changed");
  EXPECT_EQ(events_of(inotify), "4 8 ;");
  EXPECT_EQ(EXPECT_OK(inotify_add_watch(inotify, "/", IN_DELETE_SELF)), 5);
  EXPECT_EQ(fcntl(inotify, F_GETFD), FD_CLOEXEC);
}

LIVE_TEST(inotify_watch_for_one_event_ends_with_it) {
  const Scratch scratch;
  const In here(scratch);
  const Fd inotify(EXPECT_OK(inotify_init1(IN_NONBLOCK)));
  EXPECT_OK(inotify_add_watch(inotify, ".", IN_CREATE | IN_ONESHOT));
  freeze_point();
  write_whole("one", "");
  write_whole("two", "");
  EXPECT_EQ(events_of(inotify), "1 100 one;1 8000 ;");
  freeze_point();
  write_whole("three", "");
  EXPECT_FALSE(has_events(inotify));
}

LIVE_TEST(inotify_watches_a_file_of_which_only_a_descriptor_is_left) {
  const Scratch scratch;
  const Fd file = open_file(scratch.file("gone"), O_RDWR | O_CREAT);
  const Fd inotify(EXPECT_OK(inotify_init1(0)));
  EXPECT_OK(inotify_add_watch(inotify, scratch.file("gone").c_str(), IN_MODIFY | IN_DELETE_SELF));
  EXPECT_OK(unlink(scratch.file("gone").c_str()));
  freeze_point();
  EXPECT_FALSE(has_events(inotify));
  write_all(file, "x");
  EXPECT_EQ(events_of(inotify), "1 2 ;");
}

LIVE_TEST(inotify_read_that_blocks_goes_on) {
  const Scratch scratch;
  const In here(scratch);
  const Fd inotify(EXPECT_OK(inotify_init1(0)));
  EXPECT_OK(inotify_add_watch(inotify, scratch.path().c_str(), IN_CREATE));
  std::string events;
  BlockedThread reader(SYS_read, [&] { events = events_of(inotify); });
  freeze_point();
  write_whole("new", "");
  reader.join();
  EXPECT_EQ(events, "1 100 new;");
}

LIVE_TEST_THAT_NEEDS(inotify_is_refused_while_events_wait_and_keeps_them, Needs::kRefusal) {
  const Scratch scratch;
  const In here(scratch);
  const Fd inotify(EXPECT_OK(inotify_init1(0)));
  EXPECT_OK(inotify_add_watch(inotify, ".", IN_CREATE));
  write_whole("new", "");
  freeze_point();
  EXPECT_EQ(events_of(inotify), "1 100 new;");
}

}  // namespace
}  // namespace live
