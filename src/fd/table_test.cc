// The drivers: whole tables, shared descriptions, numbers that are in the way.
#include "fd/table.h"

#include <sys/resource.h>

#include <chrono>

#include "fd/round_trip.h"

namespace stint::fd {
namespace {

TEST(Look, TakesTenThousandDescriptors) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  int count = static_cast<int>(std::min<rlim_t>(limit.rlim_max - 200, 10000));
  StoppedProgram program([&] {
    rlimit most = limit;
    most.rlim_cur = most.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &most) != 0 || ::open("/dev/null", O_RDONLY) != 0) return false;
    for (int i = 1; i < count; ++i)
      if (::dup(0) != i) return false;
    return true;
  });
  ASSERT_TRUE(program.stopped());
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  Result<std::vector<Facts>> facts = look(Pid{program.pid()}, JobPid{3});
  ASSERT_TRUE(facts.has_value()) << facts.error().text();
  EXPECT_EQ(facts->size(), static_cast<size_t>(count));
  std::vector<std::vector<Facts>> processes;
  processes.push_back(std::move(*facts));
  Trip trip;
  CaptureContext context{.sink = trip.stream, .files = trip.files, .shared_memory = trip.files};
  ASSERT_TRUE(capture_descriptors(processes, context).has_value());
  RecordProperty(
      "milliseconds",
      static_cast<int>(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count()));
  // One description, and a descriptor record for each.
  EXPECT_EQ(trip.stream.records().size(), static_cast<size_t>(count) + 1);
}

TEST(Description, IsAsLongAsItSays) {
  Bytes bytes = image::encode(image::Description{});
  EXPECT_EQ(bytes.size(), image::Description::kEncodedSize);
}

TEST(Capture, RecordsASharedDescriptionOnce) {
  Trip trip;
  Result<> captured = trip.capture([] {
    return ::open("/dev/null", O_RDONLY) == 0 && ::dup(0) == 1 && ::open("/dev/null", O_RDONLY) == 2 &&
           ::dup2(2, 40) == 40;
  });
  ASSERT_TRUE(captured.has_value()) << captured.error().text();
  std::map<int, uint64_t> descriptions;
  for (const image::Record& record : trip.stream.records()) {
    if (record.type != image::RecordType::kDescriptor) continue;
    Result<image::DescriptorRecord> descriptor = image::decode<image::DescriptorRecord>(record.payload);
    ASSERT_TRUE(descriptor.has_value());
    descriptions[descriptor->fd] = descriptor->description;
  }
  EXPECT_EQ(descriptions, (std::map<int, uint64_t>{{0, 1}, {1, 1}, {2, 2}, {40, 2}}));
}

TEST(Capture, KeepsWhichSignalIsSent) {
  EXPECT_EQ(round_trip(
                [] {
                  int ends[2];
                  return ::pipe(ends) == 0 && ::fcntl(0, F_SETSIG, SIGRTMIN + 2) == 0;
                },
                []() -> std::string {
                  HOLDS(::fcntl(0, F_GETSIG) == SIGRTMIN + 2);
                  return "";
                }),
            "");
}

TEST(Capture, RefusesAnOwnerOutsideOfTheJob) {
  Trip trip;
  Result<> captured = trip.capture([] {
    f_owner_ex owner{.type = F_OWNER_PID, .pid = 1};
    int ends[2];
    return ::pipe(ends) == 0 && ::fcntl(0, F_SETOWN_EX, &owner) == 0;
  });
  ASSERT_FALSE(captured.has_value());
  EXPECT_EQ(captured.error().kind(), ErrorKind::kRefused);
  EXPECT_NE(captured.error().text().find("fd 0"), std::string::npos) << captured.error().text();
}

TEST(Restore, ClosesEverythingElse) {
  int stray = ::dup2(2, 33);
  ASSERT_EQ(stray, 33);
  EXPECT_EQ(round_trip([] { return ::open("/dev/null", O_RDONLY) == 0 && ::dup2(0, 5) == 5; },
                       []() -> std::string {
                         for (int fd = 0; fd < 900; ++fd) HOLDS((::fcntl(fd, F_GETFD) != -1) == (fd == 0 || fd == 5));
                         return "";
                       }),
            "");
  ::close(stray);
}

}  // namespace
}  // namespace stint::fd
