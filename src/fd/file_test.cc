// Regular files, directories, devices, files of /proc, memfds, and locks.
#include <dirent.h>
#include <sys/file.h>
#include <sys/mman.h>

#include <filesystem>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

class Files : public testing::Test {
 protected:
  Files() : directory_(testing::TempDir() + "stint-files-" + std::to_string(::getpid())) {
    std::filesystem::create_directory(directory_);
  }
  ~Files() override { std::filesystem::remove_all(directory_); }
  std::string path(const char* name) const { return directory_ + "/" + name; }
  static bool make(const std::string& path, std::string_view text) {
    int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    return fd >= 0 && write_text(fd, text) && ::close(fd) == 0;
  }
  std::string directory_;
};

TEST_F(Files, KeepPositionAndFlagsAndSharedDescriptions) {
  std::string name = path("file");
  EXPECT_EQ(round_trip(
                [&] {
                  return ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_APPEND, 0600) == 0 &&
                         write_text(0, "0123456789") && ::lseek(0, 4, SEEK_SET) == 4 && ::dup(0) == 1 &&
                         ::open(name.c_str(), O_RDONLY | O_CLOEXEC) == 2;
                },
                []() -> std::string {
                  HOLDS((::fcntl(0, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_RDWR | O_APPEND));
                  HOLDS(read_now(0, 2) == "45" && read_now(1, 2) == "67" && read_now(2, 2) == "01");
                  HOLDS(::fcntl(2, F_GETFD) == FD_CLOEXEC && !write_text(2, "x"));
                  return "";
                }),
            "");
}

TEST_F(Files, ThatHaveNoNameAreFoundByTheirContent) {
  std::string name = path("gone");
  EXPECT_EQ(round_trip(
                [&] {
                  return ::open(name.c_str(), O_RDWR | O_CREAT, 0600) == 0 && write_text(0, "kept") &&
                         ::unlink(name.c_str()) == 0;
                },
                []() -> std::string {
                  HOLDS(::lseek(0, 0, SEEK_CUR) == 4 && ::lseek(0, 0, SEEK_SET) == 0 && read_now(0, 9) == "kept");
                  return "";
                }),
            "");
}

TEST_F(Files, AreFoundUnderTheirPresentName) {
  std::string before = path("before"), after = path("after (deleted)");
  Trip trip;
  Result<> captured = trip.capture([&] {
    return make(before, "text") && ::open(before.c_str(), O_RDONLY) == 0 &&
           ::rename(before.c_str(), after.c_str()) == 0;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  ASSERT_EQ(trip.files.names.size(), 1u);
  EXPECT_EQ(trip.files.names.begin()->second.path, after);
  EXPECT_FALSE(trip.files.names.begin()->second.unlinked);
}

TEST_F(Files, WhoseNameIsGoneAreFoundUnderAnotherBesideIt) {
  std::string one = path("one"), other = path("other");
  Trip trip;
  Result<> captured = trip.capture([&] {
    return make(one, "text") && ::link(one.c_str(), other.c_str()) == 0 && ::open(one.c_str(), O_RDONLY) == 0 &&
           ::unlink(one.c_str()) == 0;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  ASSERT_EQ(trip.files.names.size(), 1u);
  EXPECT_EQ(trip.files.names.begin()->second.path, other);
  EXPECT_FALSE(trip.files.names.begin()->second.unlinked);
}

TEST_F(Files, WhoseNameIsGoneButNotTheFileAreRefused) {
  std::string one = path("one"), other = path("elsewhere/other");
  ASSERT_EQ(::mkdir(path("elsewhere").c_str(), 0700), 0);
  Trip trip;
  Result<> captured = trip.capture([&] {
    return make(one, "text") && ::link(one.c_str(), other.c_str()) == 0 && ::open(one.c_str(), O_RDONLY) == 0 &&
           ::unlink(one.c_str()) == 0;
  });
  ASSERT_FALSE(captured.has_value());
  EXPECT_EQ(captured.error().kind(), ErrorKind::kRefused);
  EXPECT_NE(captured.error().text().find("fd 0"), std::string::npos);
  EXPECT_NE(captured.error().text().find("link it back to " + one), std::string::npos) << captured.error().text();
}

TEST_F(Files, LocksAreTakenAgain) {
  std::string name = path("locked");
  EXPECT_EQ(round_trip(
                [&] {
                  struct flock range = {};
                  range.l_type = F_WRLCK, range.l_start = 5, range.l_len = 10;
                  struct flock whole = {};
                  whole.l_type = F_RDLCK, whole.l_start = 100;
                  return ::open(name.c_str(), O_RDWR | O_CREAT, 0600) == 0 && ::flock(0, LOCK_EX) == 0 &&
                         ::fcntl(0, F_SETLK, &range) == 0 && ::fcntl(0, F_OFD_SETLK, &whole) == 0;
                },
                [&]() -> std::string {
                  int report[2];
                  HOLDS(::pipe(report) == 0);
                  pid_t other = ::fork();
                  if (other == 0) {
                    int again = ::open(name.c_str(), O_RDWR);
                    bool flocked = ::flock(again, LOCK_EX | LOCK_NB) != 0;
                    struct flock range = {};
                    range.l_type = F_RDLCK, range.l_start = 14, range.l_len = 1;
                    bool first = ::fcntl(again, F_SETLK, &range) != 0;
                    range.l_start = 15;
                    bool beyond = ::fcntl(again, F_SETLK, &range) == 0;
                    range.l_type = F_WRLCK, range.l_start = 1000000;
                    bool to_the_end = ::fcntl(again, F_SETLK, &range) != 0;
                    ::_exit(flocked && first && beyond && to_the_end ? 0 : 1);
                  }
                  int status = -1;
                  HOLDS(::waitpid(other, &status, 0) == other && status == 0);
                  return "";
                }),
            "");
}

TEST_F(Files, DirectoriesStandWhereTheyStood) {
  for (const char* name : {"a", "b", "c", "d"}) ASSERT_TRUE(make(path(name), ""));
  off_t position = 0;
  int twin = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  char entries[64];
  ASSERT_GT(::getdents64(twin, entries, sizeof(entries)), 0);
  position = ::lseek(twin, 0, SEEK_CUR);
  ::close(twin);
  EXPECT_EQ(round_trip(
                [&] {
                  char buffer[64];
                  return ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY) == 0 &&
                         ::getdents64(0, buffer, sizeof(buffer)) > 0 && ::open(directory_.c_str(), O_PATH) == 1;
                },
                [&]() -> std::string {
                  HOLDS(::lseek(0, 0, SEEK_CUR) == position);
                  HOLDS((::fcntl(1, F_GETFL) & O_PATH) != 0 && ::openat(1, "a", O_RDONLY) >= 0);
                  return "";
                }),
            "");
}

TEST_F(Files, ARemovedDirectoryIsRefused) {
  std::string name = path("removed");
  Trip trip;
  Result<> captured = trip.capture([&] {
    return ::mkdir(name.c_str(), 0700) == 0 && ::open(name.c_str(), O_RDONLY) == 0 && ::rmdir(name.c_str()) == 0;
  });
  ASSERT_FALSE(captured.has_value());
  EXPECT_NE(captured.error().text().find("removed"), std::string::npos) << captured.error().text();
}

TEST(CharDevice, IsOpenedAgain) {
  EXPECT_EQ(round_trip([] { return ::open("/dev/null", O_WRONLY) == 0 && ::open("/dev/zero", O_RDONLY) == 1; },
                       []() -> std::string {
                         HOLDS(write_text(0, "x") && (::fcntl(0, F_GETFL) & O_ACCMODE) == O_WRONLY);
                         HOLDS(read_now(1, 3) == std::string(3, '\0'));
                         return "";
                       }),
            "");
}

TEST(KernelFile, GoesOnWhereItStoodAndShowsTheRestoredProcess) {
  EXPECT_EQ(round_trip(
                [] {
                  char line[6];
                  return ::open("/proc/self/status", O_RDONLY) == 0 && ::open("/proc/version", O_RDONLY) == 1 &&
                         ::read(1, line, 6) == 6 && memcmp(line, "Linux ", 6) == 0;
                },
                []() -> std::string {
                  std::string status = read_now(0, 4000);
                  // The last one is its number in its own pid namespace, which may be another than that of /proc here.
                  std::string numbers = status.substr(std::min(status.find("\nNSpid:") + 1, status.size()));
                  HOLDS(numbers.substr(0, numbers.find('\n')).ends_with("\t" + std::to_string(::getpid())));
                  HOLDS(read_now(1, 8) == "version ");
                  return "";
                }),
            "");
}

TEST(KernelFile, OfAProcessOutsideOfTheJobIsRefused) {
  Trip trip;
  Result<> captured = trip.capture([&] { return ::open("/proc/1/stat", O_RDONLY) == 0; });
  ASSERT_FALSE(captured.has_value());
  EXPECT_EQ(captured.error().kind(), ErrorKind::kNotNow);
  EXPECT_TRUE(captured.error().text().contains("shows process 1,")) << captured.error().text();
}

TEST(Memfd, KeepsPositionAndAccessOfEachDescription) {
  EXPECT_EQ(round_trip(
                [] {
                  return ::memfd_create("shared", MFD_CLOEXEC) == 0 && write_text(0, "memory") &&
                         ::open("/proc/self/fd/0", O_RDONLY) == 1 && ::lseek(1, 3, SEEK_SET) == 3;
                },
                []() -> std::string {
                  HOLDS(::lseek(0, 0, SEEK_CUR) == 6 && read_now(1, 9) == "ory" && !write_text(1, "x"));
                  HOLDS(write_text(0, "!") && read_now(1, 9) == "!");
                  return "";
                }),
            "");
}

}  // namespace
}  // namespace stint::fd
