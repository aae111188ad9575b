// inotify groups: their watches come back under their numbers, whatever way their inodes are found by.
#include <sys/inotify.h>

#include <filesystem>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

class TestDirectory {
 public:
  TestDirectory() { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
  ~TestDirectory() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = "/var/tmp/stint-inotify-XXXXXX";
};

struct Event {
  int watch = 0;
  uint32_t mask = 0;
  std::string name;
};

// The events that wait at descriptor 0.
std::vector<Event> events() {
  alignas(inotify_event) char buffer[4096];
  ssize_t size = ::read(0, buffer, sizeof(buffer));
  std::vector<Event> all;
  for (ssize_t at = 0; at < size;) {
    const inotify_event* event = reinterpret_cast<const inotify_event*>(buffer + at);
    all.push_back({event->wd, event->mask, event->len == 0 ? "" : event->name});
    at += static_cast<ssize_t>(sizeof(*event) + event->len);
  }
  return all;
}

bool is(const std::vector<Event>& seen, int watch, uint32_t mask, const std::string& name) {
  return seen.size() == 1 && seen[0].watch == watch && seen[0].mask == mask && seen[0].name == name;
}

bool make_file(const std::string& path) {
  int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  return fd >= 0 && ::close(fd) == 0;
}

TEST(Inotify, KeepsWatchesWithTheirNumbersBelowTheWorkingDirectory) {
  TestDirectory directory;
  std::string below = directory.path("one/two");
  ASSERT_EQ(::mkdir(directory.path("one").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(below.c_str(), 0700), 0);
  EXPECT_EQ(round_trip(
                [&] {
                  if (::chdir(directory.path("").c_str()) != 0 || ::inotify_init1(IN_NONBLOCK) != 0) return false;
                  for (int i = 0; i < 6; ++i)
                    if (::inotify_rm_watch(0, ::inotify_add_watch(0, "/", IN_OPEN)) != 0) return false;
                  (void)events();
                  return ::inotify_add_watch(0, below.c_str(), IN_CREATE) == 7 &&
                         ::inotify_add_watch(0, ".", IN_DELETE | IN_ONESHOT) == 8;
                },
                [&]() -> std::string {
                  HOLDS((::fcntl(0, F_GETFL) & O_NONBLOCK) != 0 && events().empty());
                  HOLDS(make_file(below + "/new") && is(events(), 7, IN_CREATE, "new"));
                  HOLDS(make_file(directory.path("own")) && events().empty());
                  HOLDS(::unlink(directory.path("own").c_str()) == 0);
                  std::vector<Event> seen = events();
                  HOLDS(seen.size() == 2 && seen[0].watch == 8 && seen[0].mask == IN_DELETE);
                  HOLDS(seen[1].mask == IN_IGNORED);
                  HOLDS(::inotify_add_watch(0, "/", IN_OPEN) == 9);
                  return "";
                }),
            "");
}

TEST(Inotify, WatchesAnOpenFileThatHasNoNameAnyMore) {
  TestDirectory directory;
  std::string path = directory.path("gone");
  EXPECT_EQ(round_trip(
                [&] {
                  return ::inotify_init1(IN_NONBLOCK) == 0 && ::open(path.c_str(), O_CREAT | O_RDWR, 0600) == 1 &&
                         ::inotify_add_watch(0, path.c_str(), IN_MODIFY) == 1 && ::unlink(path.c_str()) == 0;
                },
                []() -> std::string {
                  HOLDS(events().empty());
                  HOLDS(write_text(1, "x") && is(events(), 1, IN_MODIFY, ""));
                  return "";
                }),
            "");
}

TEST(Inotify, IsRefusedWhileEventsWait) {
  TestDirectory directory;
  Trip trip;
  Result<> captured = trip.capture([&] {
    return ::chdir(directory.path("").c_str()) == 0 && ::inotify_init1(0) == 0 &&
           ::inotify_add_watch(0, ".", IN_CREATE) == 1 && make_file("new");
  });
  ASSERT_FALSE(captured.has_value());
  EXPECT_EQ(captured.error().kind(), ErrorKind::kNotNow);
  EXPECT_NE(captured.error().text().find("events wait"), std::string::npos) << captured.error().text();
}

TEST(Inotify, IsRefusedWhenNobodyKnowsANameOfWhatItWatches) {
  TestDirectory directory;
  std::string hidden = directory.path("hidden");
  Trip trip;
  Result<> captured = trip.capture([&] {
    return ::chdir("/sys/kernel") == 0 && ::mkdir(hidden.c_str(), 0700) == 0 && ::inotify_init1(0) == 0 &&
           ::inotify_add_watch(0, hidden.c_str(), IN_CREATE) == 1;
  });
  ASSERT_FALSE(captured.has_value());
  EXPECT_NE(captured.error().text().find("no name is known for what its watch 1 is for"), std::string::npos)
      << captured.error().text();
}

TEST(Inotify, FindsAWatchByANameThatTheLedgerKnows) {
  TestDirectory directory;
  std::string hidden = directory.path("hidden");
  Trip trip;
  trip.names = {hidden};
  Result<> captured = trip.capture([&] {
    return ::chdir("/sys/kernel") == 0 && ::mkdir(hidden.c_str(), 0700) == 0 && ::inotify_init1(IN_NONBLOCK) == 0 &&
           ::inotify_add_watch(0, hidden.c_str(), IN_CREATE) == 1;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  EXPECT_EQ(trip.verify([&]() -> std::string {
    HOLDS(make_file(hidden + "/new") && is(events(), 1, IN_CREATE, "new"));
    return "";
  }),
            "");
}

}  // namespace
}  // namespace stint::fd
