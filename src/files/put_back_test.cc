// The whole way of a file: noted and saved, changed behind our back, checked, put back, opened again.
#include "files/put_back.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "files/content.h"
#include "files/file_states.h"
#include "files/open_files.h"
#include "files/test_directory.h"
#include "image/memory_stream.h"

namespace stint::files {
namespace {

using testing::HasSubstr;

class PutBack : public testing::TestWithParam<const char*> {
 protected:
  // Opens a file as the job would, and notes it.
  uint64_t hold(const std::string& path, int flags) {
    sys::UniqueFd fd = std::move(*sys::open(path, flags, 0644));
    struct stat stat = *sys::fstat(fd.get());
    Result<uint64_t> id = states_.note(fd.get(), stat, path, stat.st_nlink == 0, (flags & O_ACCMODE) != O_RDONLY);
    EXPECT_TRUE(id.has_value()) << id.error().text();
    held_.push_back(std::move(fd));
    return id.value_or(0);
  }
  // Takes the checkpoint; the job is gone after it.
  void checkpoint() {
    Result<> settled = states_.settle(stream_);
    ASSERT_TRUE(settled.has_value()) << settled.error().text();
    Result<> saved = states_.save(stream_);
    ASSERT_TRUE(saved.has_value()) << saved.error().text();
    held_.clear();
  }
  Result<FilePlan> check() { return check_files(stream_, cache_, options_); }
  // Checks and puts back; the text of the failure, or of what was done.
  std::string restart() {
    Result<FilePlan> plan = check();
    if (!plan.has_value()) return plan.error().text();
    Result<PutBackFiles> done = put_back(*plan, stream_, options_);
    if (!done.has_value()) return done.error().text();
    std::string text;
    for (const std::string& line : plan->remarks) text += line + "\n";
    for (const std::string& line : done->settle()) text += line + "\n";
    return text;
  }
  Result<OpenFiles> open() { return OpenFiles::make(stream_, std::move(*check()), options_); }

  TestDirectory directory_{GetParam()};
  std::string log_ = directory_ / "log";
  HashCache cache_;
  FileStates states_{cache_, {.saved_up_to = 1 << 20, .hashed_up_to = 1 << 20}};
  std::vector<sys::UniqueFd> held_;
  image::MemoryStream stream_;
  CheckOptions options_{.after = {},
                        .kept_directory = directory_ / "kept",
                        .bundle_directory = directory_ / "bundle",
                        .state_directory = directory_.path()};
};
INSTANTIATE_TEST_SUITE_P(FileSystems, PutBack, testing::Values("/var/tmp", "/dev/shm"));

TEST_P(PutBack, FilesThatAreWhatTheyWereAreLeftAlone) {
  write_file(log_, "read");
  write_file(directory_ / "out", "written");
  hold(log_, O_RDONLY);
  hold(directory_ / "out", O_RDWR);
  checkpoint();
  EXPECT_EQ(restart(), "");
  EXPECT_FALSE(exists(directory_ / "kept"));
}

TEST_P(PutBack, GrowthIsCutAndKept) {
  write_file(log_, "before");
  ino_t inode = stat_of(log_).st_ino;
  hold(log_, O_WRONLY);
  checkpoint();
  append(log_, " and after");
  EXPECT_THAT(restart(), HasSubstr("cut 10 bytes"));
  EXPECT_EQ(content(log_), "before");
  EXPECT_EQ(stat_of(log_).st_ino, inode);
  EXPECT_EQ(content(directory_ / "kept/1/1"), " and after");
  EXPECT_THAT(content(directory_ / "kept/1/1.json"), HasSubstr(log_));
  EXPECT_EQ(restart(), "");  // Now it is what it was.
}

TEST_P(PutBack, GrowthOfAFileTooLargeToBeSavedIsCut) {
  std::string large(3 << 20, 'L');
  write_file(log_, large);
  hold(log_, O_WRONLY | O_APPEND);
  checkpoint();
  append(log_, "tail");
  EXPECT_THAT(restart(), HasSubstr("cut 4 bytes"));
  EXPECT_EQ(content(log_), large);
}

TEST_P(PutBack, GrowthWhileAnotherProgramWritesIsRefusedByItsName) {
  write_file(log_, "before");
  hold(log_, O_WRONLY);
  checkpoint();
  append(log_, "after");
  sys::UniqueFd writer = std::move(*sys::open(log_, O_WRONLY | O_APPEND));
  std::string text = restart();
  EXPECT_THAT(text, HasSubstr("process " + std::to_string(::getpid())));
  EXPECT_THAT(text, HasSubstr("truncate -s 6"));
  EXPECT_EQ(content(log_), "beforeafter");
}

TEST_P(PutBack, GrowthThroughAMappingThatIsStillThereIsSeen) {
  write_file(log_, "before");
  hold(log_, O_WRONLY);
  checkpoint();
  append(log_, "after");
  sys::UniqueFd writer = std::move(*sys::open(log_, O_RDWR));
  void* start = ::mmap(nullptr, 11, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0);
  ASSERT_NE(start, MAP_FAILED);
  sys::Mapping mapping(start, 11);
  writer.reset();
  EXPECT_THAT(restart(), HasSubstr("another program has it open for writing"));
}

TEST_P(PutBack, GrowthAfterTheJobHadEndedIsRefused) {
  write_file(log_, "before");
  hold(log_, O_WRONLY);
  checkpoint();
  append(log_, "after");
  options_.after.ended_ns = sys::mtime_ns(stat_of(log_)) - 1;
  EXPECT_THAT(restart(), HasSubstr("after the job had ended"));
  options_.after.ended_ns = sys::mtime_ns(stat_of(log_));
  EXPECT_THAT(restart(), HasSubstr("cut 5 bytes"));
}

TEST_P(PutBack, AStoppedJobOwnsNoChange) {
  options_.after.stopped = true;
  write_file(log_, "before");
  write_file(directory_ / "appended", "one");
  hold(log_, O_WRONLY);
  hold(directory_ / "appended", O_WRONLY | O_APPEND);
  checkpoint();
  append(directory_ / "appended", "two");  // As a batch system does with the job's output.
  EXPECT_THAT(restart(), HasSubstr("are left"));
  EXPECT_EQ(content(directory_ / "appended"), "onetwo");
  append(log_, "after");
  EXPECT_THAT(restart(), HasSubstr("stopped in the checkpoint"));
  EXPECT_EQ(content(log_), "beforeafter");
}

TEST_P(PutBack, OverwrittenTruncatedReplacedAndRemovedFilesComeBackTogether) {
  std::vector<std::string> names = {"overwritten", "truncated", "replaced", "removed"};
  for (const std::string& name : names) {
    write_file(directory_ / name, name + ": as it was");
    ASSERT_EQ(::chmod((directory_ / name).c_str(), 0640), 0);
    hold(directory_ / name, O_RDWR);
  }
  ino_t inode = stat_of(directory_ / "overwritten").st_ino;
  checkpoint();
  write_file(directory_ / "overwritten", "something else altogether");
  write_file(directory_ / "truncated", "");
  write_file(directory_ / "new", "a new file");
  ASSERT_EQ(::rename((directory_ / "new").c_str(), (directory_ / "replaced").c_str()), 0);
  ASSERT_EQ(::unlink((directory_ / "removed").c_str()), 0);
  EXPECT_THAT(restart(), HasSubstr("made anew"));
  for (const std::string& name : names) {
    EXPECT_EQ(content(directory_ / name), name + ": as it was");
    EXPECT_EQ(stat_of(directory_ / name).st_mode & 07777, 0640u) << name;
  }
  EXPECT_EQ(stat_of(directory_ / "overwritten").st_ino, inode);
  EXPECT_EQ(content(directory_ / "kept/1/1"), "something else altogether");
  EXPECT_EQ(content(directory_ / "kept/1/3"), "a new file");
  EXPECT_EQ(sys::list_directory(directory_.path())->size(), names.size() + 1);  // and kept/
  EXPECT_EQ(restart(), "");
}

TEST_P(PutBack, UndoneEveryFileIsWhatItWasBefore) {
  std::vector<std::string> names = {"grown", "overwritten", "replaced", "removed"};
  for (const std::string& name : names) {
    write_file(directory_ / name, name);
    hold(directory_ / name, O_RDWR);
  }
  checkpoint();
  append(directory_ / "grown", " on");
  write_file(directory_ / "overwritten", "something else altogether");
  write_file(directory_ / "new", "a new file");
  ASSERT_EQ(::rename((directory_ / "new").c_str(), (directory_ / "replaced").c_str()), 0);
  ASSERT_EQ(::unlink((directory_ / "removed").c_str()), 0);
  struct stat overwritten = stat_of(directory_ / "overwritten"), replaced = stat_of(directory_ / "replaced");
  Result<FilePlan> plan = check();
  ASSERT_TRUE(plan.has_value());
  Result<PutBackFiles> done = put_back(*plan, stream_, options_);
  ASSERT_TRUE(done.has_value()) << done.error().text();
  EXPECT_EQ(content(directory_ / "grown"), "grown");
  EXPECT_EQ(content(directory_ / "removed"), "removed");
  Result<> undone = done->undo();
  ASSERT_TRUE(undone.has_value()) << undone.error().text();
  EXPECT_EQ(content(directory_ / "grown"), "grown on");
  EXPECT_EQ(content(directory_ / "overwritten"), "something else altogether");
  EXPECT_EQ(sys::mtime_ns(stat_of(directory_ / "overwritten")), sys::mtime_ns(overwritten));
  EXPECT_EQ(content(directory_ / "replaced"), "a new file");
  EXPECT_EQ(stat_of(directory_ / "replaced").st_ino, replaced.st_ino);
  EXPECT_FALSE(exists(directory_ / "removed"));
  EXPECT_EQ(sys::list_directory(directory_.path())->size(), names.size());  // kept/ and all but what was removed
  EXPECT_TRUE(sys::list_directory(directory_ / "kept")->empty());
}

TEST_P(PutBack, AHardLinkStaysOne) {
  write_file(log_, "both names");
  ASSERT_EQ(::link(log_.c_str(), (directory_ / "other").c_str()), 0);
  hold(log_, O_RDWR);
  checkpoint();
  write_file(log_, "overwritten");
  EXPECT_THAT(restart(), HasSubstr("put back"));
  EXPECT_EQ(content(directory_ / "other"), "both names");
  EXPECT_EQ(stat_of(log_).st_nlink, 2u);
}

TEST_P(PutBack, ALargeFileThatWasOverwrittenIsRefused) {
  write_file(log_, std::string(3 << 20, 'L'));
  hold(log_, O_RDWR);
  checkpoint();
  write_file(log_, std::string(4 << 20, 'M'));
  EXPECT_THAT(restart(), HasSubstr("larger than what is saved"));
  ASSERT_EQ(::unlink(log_.c_str()), 0);
  EXPECT_THAT(restart(), HasSubstr("it is gone"));
}

TEST_P(PutBack, AFileThatWasOnlyReadMustHaveItsContent) {
  write_file(log_, "input");
  hold(log_, O_RDONLY);
  checkpoint();
  write_file(directory_ / "copy", "input");
  ASSERT_EQ(::rename((directory_ / "copy").c_str(), log_.c_str()), 0);
  EXPECT_EQ(restart(), "");  // Another inode with other times, and the same bytes.
  write_file(log_, "INPUT");
  std::string text = restart();
  EXPECT_THAT(text, HasSubstr(log_));
  EXPECT_THAT(text, HasSubstr("its content differs"));
  append(log_, "more");
  EXPECT_THAT(restart(), HasSubstr("its content differs"));
  ASSERT_EQ(::unlink(log_.c_str()), 0);
  EXPECT_THAT(restart(), HasSubstr("it is gone"));
  ASSERT_EQ(::symlink("/etc/passwd", log_.c_str()), 0);
  EXPECT_THAT(restart(), HasSubstr("was a regular file"));
}

TEST_P(PutBack, NothingIsTouchedWhenOneFileIsUnfit) {
  write_file(log_, "before");
  write_file(directory_ / "input", "input");
  hold(log_, O_WRONLY);
  hold(directory_ / "input", O_RDONLY);
  checkpoint();
  append(log_, "after");
  write_file(directory_ / "input", "changed");
  EXPECT_THAT(restart(), HasSubstr("input"));
  EXPECT_EQ(content(log_), "beforeafter");
  EXPECT_FALSE(exists(directory_ / "kept"));
}

TEST_P(PutBack, AStepThatFailsUndoesTheOnesBefore) {
  write_file(log_, "before");
  write_file(directory_ / "second", "second");
  hold(log_, O_WRONLY);
  hold(directory_ / "second", O_WRONLY);
  checkpoint();
  append(log_, "after");
  ASSERT_EQ(::unlink((directory_ / "second").c_str()), 0);
  Result<FilePlan> plan = check();
  ASSERT_TRUE(plan.has_value());
  write_file(directory_ / "second", "somebody was quicker");
  Result<PutBackFiles> done = put_back(*plan, stream_, options_);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(content(log_), "beforeafter");
  EXPECT_EQ(content(directory_ / "second"), "somebody was quicker");
  EXPECT_EQ(sys::list_directory(directory_.path())->size(), 3u);  // log, second, kept: nothing half-made
  EXPECT_TRUE(sys::list_directory(directory_ / "kept")->empty());
}

TEST_P(PutBack, StoresThroughASharedMappingAreSeenAndPutBack) {
  write_file(log_, std::string(4096, 'a'));
  sys::UniqueFd file = std::move(*sys::open(log_, O_RDWR));
  void* start = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(start, MAP_FAILED);
  sys::Mapping mapping(start, 4096);
  mapping.data()[0] = std::byte{'b'};  // Dirty from here on: later stores change no time.
  ASSERT_TRUE(states_.note_shared_mapping(file.get(), *sys::fstat(file.get()), log_, false).has_value());
  checkpoint();
  struct stat before = stat_of(log_);
  mapping.data()[1] = std::byte{'c'};
  struct stat after = stat_of(log_);
  EXPECT_EQ(sys::mtime_ns(before), sys::mtime_ns(after));
  EXPECT_EQ(sys::ctime_ns(before), sys::ctime_ns(after));
  mapping = sys::Mapping();
  file.reset();
  EXPECT_THAT(restart(), HasSubstr("put back"));
  EXPECT_EQ(content(log_), "b" + std::string(4095, 'a'));
}

TEST_P(PutBack, AnUnlinkedFileComesBackOnceForAllItsDescriptions) {
  write_file(log_, "no name");
  sys::UniqueFd first = std::move(*sys::open(log_, O_RDWR));
  sys::UniqueFd second = std::move(*sys::open(log_, O_RDONLY));
  ASSERT_EQ(::unlink(log_.c_str()), 0);
  struct stat stat = *sys::fstat(first.get());
  uint64_t id = *states_.note(first.get(), stat, log_, true, true);
  EXPECT_EQ(*states_.note(second.get(), stat, log_, true, false), id);
  checkpoint();
  Result<OpenFiles> files = open();
  ASSERT_TRUE(files.has_value()) << files.error().text();
  sys::UniqueFd writer = std::move(*files->open_file(id, O_RDWR));
  sys::UniqueFd reader = std::move(*files->open_file(id, O_RDONLY));
  EXPECT_EQ(sys::fstat(writer.get())->st_nlink, 0u);
  EXPECT_EQ(sys::fstat(writer.get())->st_ino, sys::fstat(reader.get())->st_ino);
  EXPECT_FALSE(exists(log_));
  EXPECT_EQ(*sys::readlink("/proc/self/fd/" + std::to_string(writer.get())), log_ + " (deleted)");
  ASSERT_TRUE(sys::write_all(writer.get(), bytes_of("NO")).has_value());
  Bytes back(7);
  ASSERT_TRUE(sys::pread_all(reader.get(), back, 0).has_value());
  EXPECT_EQ(text_of(back), "NO name");
}

TEST_P(PutBack, AFileThatWasRenamedOverIsKeptAsOneWithoutName) {
  write_file(log_, "old");
  uint64_t id = hold(log_, O_RDONLY);
  write_file(directory_ / "new", "new");
  ASSERT_EQ(::rename((directory_ / "new").c_str(), log_.c_str()), 0);
  checkpoint();
  Result<OpenFiles> files = open();
  ASSERT_TRUE(files.has_value()) << files.error().text();
  sys::UniqueFd file = std::move(*files->open_file(id, O_RDONLY));
  Bytes back(3);
  ASSERT_TRUE(sys::pread_all(file.get(), back, 0).has_value());
  EXPECT_EQ(text_of(back), "old");
  EXPECT_EQ(content(log_), "new");
}

TEST_P(PutBack, DescriptionsComeBackWithTheirFlags) {
  write_file(log_, "0123");
  uint64_t id = hold(log_, O_RDWR);
  ASSERT_EQ(::chmod(log_.c_str(), 0444), 0);  // As with open(path, O_CREAT | O_RDWR, 0444).
  checkpoint();
  Result<OpenFiles> files = open();
  ASSERT_TRUE(files.has_value()) << files.error().text();
  Result<sys::UniqueFd> file = files->open_file(id, O_RDWR | O_APPEND | O_NONBLOCK | O_CREAT | O_TRUNC);
  ASSERT_TRUE(file.has_value()) << file.error().text();
  int flags = *sys::status_flags(file->get());
  EXPECT_EQ(flags & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND | O_NONBLOCK);
  EXPECT_EQ(content(log_), "0123");
  EXPECT_EQ(stat_of(log_).st_mode & 07777, 0444u);
}

TEST_P(PutBack, FilesOfTheKernelAreOpenedAgainWithoutQuestions) {
  uint64_t id = hold("/proc/sys/kernel/random/uuid", O_RDONLY);
  checkpoint();
  Result<OpenFiles> files = open();
  ASSERT_TRUE(files.has_value()) << files.error().text();
  EXPECT_TRUE(files->open_file(id, O_RDONLY).has_value());
}

TEST_P(PutBack, ALargeFileIsNotReadInTheStopWhenItWasLeftAlone) {
  write_file(log_, std::string(3 << 20, 'L'));
  hold(log_, O_RDWR);
  struct stat stat = stat_of(log_);
  // What look_ahead() learns of a file that is old enough, which one made by a test is not.
  cache_.remember(stat, {.content = {.low = 1, .high = 2}, .build_id = {}});
  checkpoint();
  std::vector<image::FileStateRecord> records =
      *records_of<image::FileStateRecord>(stream_, image::RecordType::kFileState);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].content, (Hash128{.low = 1, .high = 2}));
  EXPECT_EQ(records[0].content_space, 0u);
}

}  // namespace
}  // namespace stint::files
