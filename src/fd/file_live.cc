// Regular files, directories and devices: position, flags, sharing of one open file description, names that are gone.
#include <dirent.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <set>

#include "test/live/program/processes.h"

namespace live {
namespace {

LIVE_TEST(file_keeps_its_position_and_flags) {
  const Scratch scratch;
  write_whole(scratch.file("data"), "0123456789");
  const Fd file = open_file(scratch.file("data"), O_RDWR | O_CLOEXEC);
  EXPECT_EQ(read_exactly(file, 4), "0123");
  const int flags = fcntl(file, F_GETFL);
  freeze_point();
  EXPECT_EQ(fcntl(file, F_GETFL), flags);
  EXPECT_EQ(fcntl(file, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(lseek(file, 0, SEEK_CUR), 4);
  write_all(file, "abc");
  EXPECT_EQ(read_whole(scratch.file("data")), "0123abc789");
}

LIVE_TEST(file_opened_for_appending_still_appends) {
  const Scratch scratch;
  write_whole(scratch.file("log"), "start;");
  const Fd log = open_file(scratch.file("log"), O_WRONLY | O_APPEND | O_DSYNC);
  write_all(log, "one;");
  freeze_point();
  EXPECT_TRUE((fcntl(log, F_GETFL) & O_APPEND) != 0);
  EXPECT_EQ(fcntl(log, F_GETFL) & O_DSYNC, O_DSYNC);
  EXPECT_OK(lseek(log, 0, SEEK_SET));
  write_all(log, "two;");
  EXPECT_EQ(read_whole(scratch.file("log")), "start;one;two;");
}

LIVE_TEST(duplicated_descriptors_share_one_position_and_others_do_not) {
  const Scratch scratch;
  write_whole(scratch.file("data"), "0123456789");
  const Fd first = open_file(scratch.file("data"), O_RDONLY);
  const Fd shared(EXPECT_OK(dup(first)));
  const Fd other = open_file(scratch.file("data"), O_RDONLY);
  EXPECT_OK(lseek(first, 3, SEEK_SET));
  freeze_point();
  EXPECT_EQ(read_exactly(shared, 2), "34");
  EXPECT_EQ(read_exactly(first, 2), "56");
  EXPECT_EQ(read_exactly(other, 2), "01");
}

LIVE_TEST(unlinked_file_keeps_its_content) {
  const Scratch scratch;
  const std::string bytes = pattern(200'000);
  const Fd file = open_file(scratch.file("gone"), O_RDWR | O_CREAT);
  write_all(file, bytes);
  EXPECT_OK(unlink(scratch.file("gone").c_str()));
  EXPECT_OK(lseek(file, 100, SEEK_SET));
  freeze_point();
  EXPECT_EQ(stat_of(file).st_nlink, 0UL);
  EXPECT_EQ(stat_of(file).st_size, 200'000);
  EXPECT_TRUE(read_exactly(file, bytes.size() - 100) == bytes.substr(100));
  EXPECT_NE(access(scratch.file("gone").c_str(), F_OK), 0);
}

// As SQLite opens its temporary files.
LIVE_TEST(unlinked_file_that_was_opened_without_following_links_is_there) {
  const Scratch scratch;
  const Fd file = open_file(scratch.file("gone"), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
  EXPECT_OK(unlink(scratch.file("gone").c_str()));
  write_all(file, "content");
  freeze_point();
  EXPECT_OK(lseek(file, 0, SEEK_SET));
  EXPECT_EQ(read_exactly(file, 7), "content");
}

LIVE_TEST(two_descriptions_of_one_unlinked_file_are_still_one_file) {
  const Scratch scratch;
  const Fd first = open_file(scratch.file("gone"), O_RDWR | O_CREAT);
  const Fd second = open_file(scratch.file("gone"), O_RDONLY);
  EXPECT_OK(unlink(scratch.file("gone").c_str()));
  freeze_point();
  write_all(first, "shared");
  EXPECT_EQ(read_once(second), "shared");
}

LIVE_TEST(file_opened_by_a_relative_path_is_the_same_file) {
  const Scratch scratch;
  EXPECT_OK(mkdir(scratch.file("inner").c_str(), 0700));
  write_whole(scratch.file("inner/data"), "relative");
  const Fd before = open_file(".", O_RDONLY | O_DIRECTORY);
  EXPECT_OK(chdir(scratch.path().c_str()));
  const Fd file = open_file("inner/data", O_RDONLY);
  EXPECT_OK(fchdir(before));
  const struct stat was = stat_of(file);
  freeze_point();
  EXPECT_TRUE(same_file(stat_of(file), was));
  EXPECT_EQ(read_once(file), "relative");
}

LIVE_TEST(file_that_was_renamed_since_it_was_opened_is_the_same_file) {
  const Scratch scratch;
  write_whole(scratch.file("old"), "renamed");
  const Fd file = open_file(scratch.file("old"), O_RDWR);
  EXPECT_OK(rename(scratch.file("old").c_str(), scratch.file("new").c_str()));
  write_whole(scratch.file("old"), "another file in its place");
  const struct stat was = stat_of(file);
  freeze_point();
  EXPECT_TRUE(same_file(stat_of(file), was));
  EXPECT_EQ(read_once(file), "renamed");
}

LIVE_TEST(directory_descriptor_still_leads_into_its_directory) {
  const Scratch scratch;
  write_whole(scratch.file("inside"), "found");
  const Fd directory = open_file(scratch.path(), O_RDONLY | O_DIRECTORY);
  const Fd path = open_file(scratch.path(), O_PATH);
  freeze_point();
  const Fd found(EXPECT_OK(openat(directory, "inside", O_RDONLY)));
  EXPECT_EQ(read_once(found), "found");
  const Fd again(EXPECT_OK(openat(path, "inside", O_RDONLY)));
  EXPECT_EQ(read_once(again), "found");
}

LIVE_TEST(directory_that_is_half_read_is_read_to_its_end) {
  const Scratch scratch;
  for (int i = 0; i < 200; ++i) write_whole(scratch.file("entry-" + std::to_string(i)), "");
  DIR* directory = opendir(scratch.path().c_str());
  EXPECT_TRUE(directory != nullptr);
  std::multiset<std::string> names;
  for (int i = 0; i < 50; ++i) names.insert(readdir(directory)->d_name);
  freeze_point();
  while (const dirent* entry = readdir(directory)) names.insert(entry->d_name);
  closedir(directory);
  EXPECT_EQ(names.size(), 202UL);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(names.count("entry-" + std::to_string(i)), 1UL);
}

LIVE_TEST(holes_between_descriptors_stay_holes) {
  const Ends pipe = make_pipe();
  const Fd high(EXPECT_OK(fcntl(pipe.read, F_DUPFD, 700)));
  const Fd cloexec(EXPECT_OK(fcntl(pipe.read, F_DUPFD_CLOEXEC, 710)));
  auto open_descriptors = [] {
    std::string open;
    for (int fd = 0; fd < 1024; ++fd) {
      const int flags = fcntl(fd, F_GETFD);
      if (flags != -1) open += std::to_string(fd) + (flags == FD_CLOEXEC ? "c " : " ");
    }
    return open;
  };
  const std::string before = open_descriptors();
  freeze_point();
  EXPECT_EQ(open_descriptors(), before);
  write_all(pipe.write, "x");
  EXPECT_EQ(read_once(high), "x");
}

LIVE_TEST(devices_are_still_devices) {
  const Fd null = open_file("/dev/null", O_RDWR);
  const Fd zero = open_file("/dev/zero", O_RDONLY);
  const Fd random = open_file("/dev/urandom", O_RDONLY);
  const struct stat was = stat_of(null);
  freeze_point();
  EXPECT_EQ(read_once(null), "");
  write_all(null, "away");
  EXPECT_EQ(read_exactly(zero, 100), std::string(100, '\0'));
  EXPECT_NE(read_exactly(random, 32), read_exactly(random, 32));
  EXPECT_EQ(stat_of(null).st_rdev, was.st_rdev);
}

LIVE_TEST(proc_file_that_is_open_can_be_read_again) {
  const Fd status = open_file("/proc/self/status", O_RDONLY);
  freeze_point();
  const std::string text = read_once(status);
  EXPECT_TRUE(text.find("\nPid:\t" + std::to_string(getpid()) + "\n") != std::string::npos);
}

std::string number_in(const std::string& status) {
  const size_t at = status.find("\nPid:\t");
  return at == std::string::npos ? "" : status.substr(at + 6, status.find('\n', at + 1) - at - 6);
}

LIVE_TEST(proc_file_of_a_child_shows_the_child) {
  Child child([](Line& line) {
    const Fd own = open_file("/proc/self/status", O_RDONLY);
    const Fd parent = open_file("/proc/" + std::to_string(getppid()) + "/status", O_RDONLY);
    line.stand_by();
    EXPECT_EQ(number_in(read_once(own)), std::to_string(getpid()));
    EXPECT_EQ(number_in(read_once(parent)), std::to_string(getppid()));
    return 0;
  });
  child.await();
  const Fd of_child = open_file("/proc/" + std::to_string(child.pid()) + "/status", O_RDONLY);
  freeze_point();
  EXPECT_EQ(number_in(read_once(of_child)), std::to_string(child.pid()));
  child.finish();
}

LIVE_TEST(proc_directory_of_a_child_shows_its_descriptors) {
  Child child([](Line& line) {
    const Fd null = open_file("/dev/null", O_RDONLY);
    const Fd own = open_file("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    const Fd name = open_file("/proc/self/fdinfo", O_PATH | O_DIRECTORY);
    line.stand_by();
    const std::string number = std::to_string(null);
    EXPECT_EQ(faccessat(own, number.c_str(), F_OK, AT_SYMLINK_NOFOLLOW), 0);
    EXPECT_EQ(faccessat(name, number.c_str(), F_OK, 0), 0);
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

LIVE_TEST(lock_between_two_descriptions_is_still_held) {
  const Scratch scratch;
  write_whole(scratch.file("lock"), "");
  const Fd holder = open_file(scratch.file("lock"), O_RDWR);
  const Fd other = open_file(scratch.file("lock"), O_RDWR);
  EXPECT_OK(flock(holder, LOCK_EX));
  freeze_point();
  EXPECT_EQ(flock(other, LOCK_EX | LOCK_NB), -1);
  EXPECT_EQ(errno, EWOULDBLOCK);
  EXPECT_OK(flock(holder, LOCK_UN));
  EXPECT_OK(flock(other, LOCK_EX | LOCK_NB));
}

}  // namespace
}  // namespace live
