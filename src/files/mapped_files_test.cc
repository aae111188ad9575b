// The way of a mapped file: noted from outside, changed behind our back, checked, opened again. The process that maps
// it is this one.
#include "files/mapped_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "files/content.h"
#include "files/open_files.h"
#include "files/test_directory.h"
#include "image/memory_stream.h"
#include "sys/procfs.h"

namespace stint::files {
namespace {

using testing::HasSubstr;

// A library, as far as this test goes: three pages, each with a letter of its own.
std::string library_text() { return std::string(4096, 'A') + std::string(4096, 'B') + std::string(1000, 'C'); }

class MappedFilesTest : public testing::Test {
 protected:
  void SetUp() override { write_file(library_, library_text()); }

  sys::Mapping map(const std::string& path, int prot, int flags) {
    sys::UniqueFd fd = std::move(*sys::open(path, (flags & MAP_SHARED) != 0 ? O_RDWR : O_RDONLY));
    size_t size = static_cast<size_t>(sys::fstat(fd.get())->st_size);
    void* start = ::mmap(nullptr, size, prot, flags, fd.get(), 0);
    EXPECT_NE(start, MAP_FAILED);
    return sys::Mapping(start, size);
  }
  static proc::Vma vma_at(const void* address) {
    Result<std::vector<proc::Vma>> maps = proc::parse_maps(*sys::read_proc(Pid{0}, "maps"));
    for (const proc::Vma& vma : *maps)
      if (vma.range.contains(reinterpret_cast<uint64_t>(address))) return vma;
    ADD_FAILURE() << "not mapped";
    return {};
  }
  uint64_t note(MappedFiles& files, const sys::Mapping& mapping, bool may_write = false) {
    Result<uint64_t> id = files.note(Pid{::getpid()}, vma_at(mapping.data()), may_write);
    EXPECT_TRUE(id.has_value()) << id.error().text();
    return id.value_or(0);
  }
  Result<> checkpoint(MappedFiles& files) {
    TRY(files.settle(stream_));
    TRY(states_.settle(stream_));
    TRY(files.save(stream_));
    return states_.save(stream_);
  }
  Result<FilePlan> check() { return check_files(stream_, cache_, options_); }
  std::string reopened(uint64_t id) {
    Result<FilePlan> plan = check();
    if (!plan.has_value()) return plan.error().text();
    OpenFiles files = std::move(*OpenFiles::make(stream_, std::move(*plan), options_));
    Result<sys::UniqueFd> file = files.open_mapped_file(id, false);
    if (!file.has_value()) return file.error().text();
    Bytes bytes(static_cast<size_t>(sys::fstat(file->get())->st_size));
    EXPECT_TRUE(sys::pread_all(file->get(), bytes, 0).has_value());
    return std::string(text_of(bytes));
  }

  void keep_from_memory() {
    MappedFiles files(cache_, states_, false);
    sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
    std::string shown(4096, '?');
    std::memcpy(shown.data(), mapping.data() + 4096, 4096);
    EXPECT_EQ(shown, std::string(4096, 'B'));
    EXPECT_EQ(::rename(library_.c_str(), (directory_ / "moved").c_str()), 0);
    EXPECT_EQ(::unlink((directory_ / "moved").c_str()), 0);
    uint64_t id = note(files, mapping);
    Result<> taken = checkpoint(files);
    EXPECT_TRUE(taken.has_value()) << taken.error().text();
    EXPECT_FALSE(stream_.blocks(kMappedFileSpace | id).empty());
    std::string whole_pages = library_text() + std::string(3 * 4096 - library_text().size(), '\0');
    EXPECT_EQ(reopened(id), whole_pages);
  }

  TestDirectory directory_;
  std::string library_ = directory_ / "lib.so";
  HashCache cache_;
  FileStates states_{cache_};
  image::MemoryStream stream_;
  CheckOptions options_{.after = {},
                        .kept_directory = directory_ / "kept",
                        .bundle_directory = directory_ / "bundle",
                        .state_directory = directory_.path()};
};

TEST_F(MappedFilesTest, AFileIsNotedOnceForAllItsMappings) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping one = map(library_, PROT_READ, MAP_PRIVATE), two = map(library_, PROT_READ, MAP_PRIVATE);
  files.look_ahead(Pid{::getpid()}, vma_at(one.data()));
  uint64_t id = note(files, one);
  EXPECT_EQ(note(files, two), id);
  ASSERT_TRUE(checkpoint(files).has_value());
  EXPECT_EQ(stream_.records().size(), 1u);
  EXPECT_TRUE(stream_.blocks(kMappedFileSpace | id).empty());
  EXPECT_EQ(reopened(id), library_text());
}

TEST_F(MappedFilesTest, AFileThatWasOnlyLookedAtIsNotInTheCheckpoint) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping one = map(library_, PROT_READ, MAP_PRIVATE);
  files.look_ahead(Pid{::getpid()}, vma_at(one.data()));
  ASSERT_TRUE(checkpoint(files).has_value());
  EXPECT_TRUE(stream_.records().empty());
}

TEST_F(MappedFilesTest, ADifferingFileIsRefusedByName) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
  note(files, mapping);
  ASSERT_TRUE(checkpoint(files).has_value());
  write_file(directory_ / "new", library_text() + "longer");
  ASSERT_EQ(::rename((directory_ / "new").c_str(), library_.c_str()), 0);
  Result<FilePlan> plan = check();
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().kind(), ErrorKind::kUnfit);
  EXPECT_THAT(plan.error().text(), HasSubstr(library_));
  EXPECT_THAT(plan.error().text(), HasSubstr("--bundle"));
  ASSERT_EQ(::unlink(library_.c_str()), 0);
  EXPECT_THAT(check().error().text(), HasSubstr("No such file"));
}

TEST_F(MappedFilesTest, AFileThatTheJobChangesAsSoonAsItGoesOnIsKnownAsItWasInTheStop) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
  uint64_t id = note(files, mapping);
  ASSERT_TRUE(files.settle(stream_).has_value());
  write_file(library_, "changed");
  Result<> saved = files.save(stream_);
  ASSERT_TRUE(saved.has_value()) << saved.error().text();
  write_file(library_, library_text());
  EXPECT_EQ(reopened(id), library_text());
}

TEST_F(MappedFilesTest, AnotherProgramUnderTheNameIsToldByItsBuildId) {
  MappedFiles files(cache_, states_, false);
  write_file(library_, content("/bin/true"));
  sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
  note(files, mapping);
  ASSERT_TRUE(checkpoint(files).has_value());
  mapping = sys::Mapping();
  write_file(library_, content("/bin/false"));
  std::string text = check().error().text();
  EXPECT_THAT(text, testing::ContainsRegex("its build-id is [0-9a-f]{40}, and was [0-9a-f]{40}"));
}

TEST_F(MappedFilesTest, TheSameBytesInAnotherInodeAreAccepted) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
  uint64_t id = note(files, mapping);
  ASSERT_TRUE(checkpoint(files).has_value());
  ASSERT_EQ(::unlink(library_.c_str()), 0);
  write_file(library_, library_text());
  EXPECT_EQ(reopened(id), library_text());
}

TEST_F(MappedFilesTest, ABundledFileIsLaidOutWhereTheOriginalDiffers) {
  MappedFiles files(cache_, states_, true);
  sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
  uint64_t id = note(files, mapping);
  ASSERT_TRUE(checkpoint(files).has_value());
  EXPECT_EQ(reopened(id), library_text());
  EXPECT_FALSE(exists(directory_ / "bundle"));  // The original serves.
  ASSERT_EQ(::unlink(library_.c_str()), 0);
  EXPECT_EQ(reopened(id), library_text());
  std::vector<std::string> laid_out = *sys::list_directory(directory_ / "bundle");
  ASSERT_EQ(laid_out.size(), 1u);
  EXPECT_EQ(stat_of(directory_ / "bundle").st_mode & 07777, 0700u);
  write_file(directory_ / "bundle/" + laid_out[0], "damaged");  // Found out, and laid out anew.
  EXPECT_EQ(reopened(id), library_text());
  EXPECT_THAT(check()->remarks.at(0), HasSubstr(directory_ / "bundle"));
}

TEST_F(MappedFilesTest, AnUpgradedLibraryThatADescriptorStillHasIsKept) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
  sys::UniqueFd still_open = std::move(*sys::open(library_, O_RDONLY));
  ASSERT_EQ(::unlink(library_.c_str()), 0);
  write_file(library_, "the new version");
  uint64_t id = note(files, mapping);
  ASSERT_TRUE(checkpoint(files).has_value());
  still_open.reset();
  EXPECT_EQ(reopened(id), library_text());
  EXPECT_EQ(content(library_), "the new version");
}

TEST_F(MappedFilesTest, AFileThatIsReplacedBetweenLookAndStopIsKept) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping mapping = map(library_, PROT_READ, MAP_PRIVATE);
  files.look_ahead(Pid{::getpid()}, vma_at(mapping.data()));
  ASSERT_EQ(::unlink(library_.c_str()), 0);
  uint64_t id = note(files, mapping);
  ASSERT_TRUE(checkpoint(files).has_value());
  EXPECT_EQ(reopened(id), library_text());
  EXPECT_FALSE(exists(library_));
}

// Without privilege a deleted library is in the memory of the process alone.
TEST_F(MappedFilesTest, AnUpgradedLibraryThatOnlyMemoryHasIsKept) {
  if (::geteuid() == 0) {
    // Root would find it in map_files: go on as an ordinary user, who may still look into processes of its own.
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0777), 0);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool dropped = ::setgid(65534) == 0 && ::setuid(65534) == 0 && ::prctl(PR_SET_DUMPABLE, 1) == 0;
      if (dropped) keep_from_memory();
      ::_exit(dropped && !HasFailure() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  } else {
    keep_from_memory();
  }
}

TEST_F(MappedFilesTest, ADataBaseThatIsMappedAndWrittenIsAFileStateAlone) {
  MappedFiles files(cache_, states_, false);
  sys::Mapping mapping = map(library_, PROT_READ | PROT_WRITE, MAP_SHARED);
  uint64_t id = note(files, mapping, true);
  ASSERT_TRUE(checkpoint(files).has_value());
  std::vector<image::MappedFileRecord> records =
      *records_of<image::MappedFileRecord>(stream_, image::RecordType::kMappedFile);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_FALSE(records[0].must_match);
  EXPECT_NE(records[0].file_state, 0u);
  EXPECT_EQ(reopened(id), library_text());
}

TEST_F(MappedFilesTest, ADeviceIsOpenedAgain) {
  MappedFiles files(cache_, states_, false);
  sys::UniqueFd zero = std::move(*sys::open("/dev/zero", O_RDWR));
  sys::Mapping mapping(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, zero.get(), 0), 4096);
  proc::Vma vma = vma_at(mapping.data());
  if (vma.inode == 0) GTEST_SKIP() << "this kernel shows a private mapping of /dev/zero as anonymous memory";
  uint64_t id = note(files, mapping);
  ASSERT_TRUE(checkpoint(files).has_value());
  OpenFiles open = std::move(*OpenFiles::make(stream_, std::move(*check()), options_));
  Result<sys::UniqueFd> file = open.open_mapped_file(id, false);
  ASSERT_TRUE(file.has_value()) << file.error().text();
  EXPECT_TRUE(S_ISCHR(sys::fstat(file->get())->st_mode));
}

}  // namespace
}  // namespace stint::files
