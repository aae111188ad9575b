// The writer and the reader together: what was put comes back, whatever is wrong is refused, and a write that fails
// leaves nothing behind.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "store/catalog.h"
#include "store/checkpoint_dir.h"
#include "store/reader.h"
#include "store/store_testing.h"
#include "store/verify.h"
#include "store/writer.h"
#include "sys/fault.h"
#include "sys/file.h"

namespace stint::store {
namespace {

using image::PageRun;
using image::Source;

TEST(Store, GivesBackRecordsAndPages) {
  TemporaryDirectory home;
  Content content = mixed_content();
  std::string path = write_checkpoint(home.path(), content, {});
  Result<std::unique_ptr<Reader>> reader = Reader::open(path);
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  ASSERT_EQ((*reader)->records().size(), 1u);
  EXPECT_EQ((*reader)->records()[0].type, image::RecordType::kSignalfd);
  EXPECT_EQ(read_space(**reader, 7), content.bytes);
  EXPECT_TRUE((*reader)->blocks(8).empty());
}

class EveryCompression : public testing::TestWithParam<const char*> {};

TEST_P(EveryCompression, KeepsEveryByte) {
  TemporaryDirectory home;
  Content content = mixed_content();
  WriteOptions options{.compression = *parse_compression(GetParam())};
  Result<std::unique_ptr<Reader>> reader = Reader::open(write_checkpoint(home.path(), content, options));
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  EXPECT_EQ(read_space(**reader, 7), content.bytes);
  uint64_t done = 0;
  Result<Verified> verified = verify((*reader)->directory(), {.progress = [&](uint64_t now, uint64_t) { done = now; }});
  ASSERT_TRUE(verified.has_value()) << verified.error().text();
  EXPECT_EQ(verified->bytes, content.bytes.size());
  EXPECT_EQ(done, content.bytes.size());
}

INSTANTIATE_TEST_SUITE_P(Store, EveryCompression, testing::Values("none", "lz4", "zstd", "zstd:3", "zstd:19"));

TEST(Compression, RefusesWhatIsNone) {
  for (const char* text : {"", "gzip", "zstd:", "zstd:0", "zstd:99", "zstd:3x", "lz4:1"}) {
    Result<Compression> parsed = parse_compression(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().kind(), ErrorKind::kUsage);
  }
}

TEST(Compression, LeavesRandomBytesRawAndShrinksTheRest) {
  Compressor compressor({.method = image::Storage::kZstd, .level = 1});
  EXPECT_EQ(compressor.pack(random_bytes(1 << 20, 3)).storage, image::Storage::kRaw);
  EXPECT_EQ(compressor.pack(random_bytes(kPageSize, 3)).storage, image::Storage::kRaw);
  // No byte of it repeats a sequence, but only 16 values occur: to be found by entropy alone.
  Bytes nibbles = random_bytes(1 << 20, 4);
  for (std::byte& byte : nibbles) byte &= std::byte{0x0f};
  Compressor::Packed packed = compressor.pack(nibbles);
  EXPECT_EQ(packed.storage, image::Storage::kZstd);
  EXPECT_LT(packed.bytes.size(), nibbles.size() * 6 / 10);
}

TEST(Store, StoresNoBytesForZeroPages) {
  TemporaryDirectory home;
  Content content{.start = 0x10000, .bytes = Bytes(3 << 20)};
  Result<std::unique_ptr<Reader>> reader = Reader::open(write_checkpoint(home.path(), content, {}));
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  EXPECT_EQ((*reader)->index().pages_size, 0u);
  for (const Source::Block& block : (*reader)->blocks(7)) EXPECT_TRUE(block.all_zero);
  EXPECT_EQ(read_space(**reader, 7), content.bytes);
}

TEST(Store, KeepsScatteredRunsInOneBlock) {
  TemporaryDirectory home;
  Bytes bytes = random_bytes(3 * kPageSize, 5);
  std::fill_n(bytes.begin() + kPageSize, kPageSize, std::byte{0});
  Result<std::unique_ptr<Writer>> writer = Writer::create(home.path(), {});
  ASSERT_TRUE(writer.has_value()) << writer.error().text();
  Result<std::unique_ptr<image::PageBuffer>> buffer = (*writer)->page_buffer();
  ASSERT_TRUE(buffer.has_value());
  std::copy(bytes.begin(), bytes.end(), (*buffer)->data());
  std::vector<PageRun> runs = {{9, 0x1000, kPageSize}, {9, 0x5000, kPageSize}, {9, 0x9000, kPageSize}};
  ASSERT_TRUE((*writer)->put_pages(runs, std::move(*buffer)).has_value());
  ASSERT_TRUE((*writer)->commit().has_value());
  Result<std::unique_ptr<Reader>> reader = Reader::open((*writer)->path());
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  const std::vector<Source::Block>& blocks = (*reader)->blocks(9);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].runs.size(), 2u);
  EXPECT_EQ(blocks[0].runs[1].offset, 0x9000u);
  EXPECT_TRUE(blocks[1].all_zero);
  EXPECT_EQ(blocks[1].runs[0].offset, 0x5000u);
}

TEST(Store, SaysWhereARawBlockLies) {
  TemporaryDirectory home;
  Content content{.start = 0x10000, .bytes = random_bytes(2 << 20, 6)};
  WriteOptions options{.compression = *parse_compression("none")};
  Result<std::unique_ptr<Reader>> reader = Reader::open(write_checkpoint(home.path(), content, options));
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  for (const Source::Block& block : (*reader)->blocks(7)) {
    Result<std::optional<image::RawLocation>> where = (*reader)->raw_location(block);
    ASSERT_TRUE(where.has_value()) << where.error().text();
    ASSERT_TRUE(where->has_value());
    EXPECT_EQ((*where)->offset % kPageSize, 0u);
    Result<Bytes> pages = sys::read_file((*where)->path);
    ASSERT_TRUE(pages.has_value());
    ByteView stored = ByteView(*pages).subspan((*where)->offset, block.runs[0].size);
    ByteView put = ByteView(content.bytes).subspan(block.runs[0].offset - content.start, block.runs[0].size);
    EXPECT_TRUE(std::equal(stored.begin(), stored.end(), put.begin()));
  }
}

TEST(Store, IsForItsOwnerAlone) {
  TemporaryDirectory home;
  mode_t before = umask(0);
  std::string path = write_checkpoint(home.path() + "/checkpoints", mixed_content(), {});
  umask(before);
  for (const std::string& directory : {home.path() + "/checkpoints", path})
    EXPECT_EQ(sys::stat(directory)->st_mode & 07777, 0700u) << directory;
  for (const char* file : {kRecordsFile, kPagesFile, kManifestFile})
    EXPECT_EQ(sys::stat(path + "/" + file)->st_mode & 07777, 0600u) << file;
}

// Writes `bytes` over a file from `offset` on.
void overwrite(const std::string& path, uint64_t offset, ByteView bytes) {
  Result<sys::UniqueFd> file = sys::open(path, O_WRONLY);
  ASSERT_TRUE(file.has_value()) << file.error().text();
  ASSERT_TRUE(sys::pwrite_all(file->get(), bytes, offset).has_value());
}

TEST(Store, RefusesAFlippedBitInAnyStoredBlock) {
  for (const char* how : {"none", "lz4", "zstd"}) {
    TemporaryDirectory home;
    std::string path = write_checkpoint(home.path(), mixed_content(), {.compression = *parse_compression(how)});
    Result<std::unique_ptr<Reader>> reader = Reader::open(path);
    ASSERT_TRUE(reader.has_value()) << reader.error().text();
    for (const image::StoredBlock& block : (*reader)->index().blocks) {
      if (block.storage == image::Storage::kZero) continue;
      uint64_t at = block.stored_at + block.stored_size / 2;
      Result<Bytes> pages = sys::read_file(path + "/" + kPagesFile);
      ASSERT_TRUE(pages.has_value());
      std::byte flipped = (*pages)[at] ^ std::byte{0x10};
      overwrite(path + "/" + kPagesFile, at, {&flipped, 1});
      Result<Verified> verified = verify(path, {});
      ASSERT_FALSE(verified.has_value()) << how << " " << at;
      EXPECT_EQ(verified.error().kind(), ErrorKind::kDamaged) << verified.error().text();
      overwrite(path + "/" + kPagesFile, at, {&(*pages)[at], 1});
    }
    EXPECT_TRUE(verify(path, {}).has_value());
  }
}

TEST(Store, RefusesFilesThatAreCutShortOrMissing) {
  for (const char* file : {kRecordsFile, kPagesFile}) {
    TemporaryDirectory home;
    std::string path = write_checkpoint(home.path(), mixed_content(), {});
    std::string part = path + "/" + file;
    uint64_t size = static_cast<uint64_t>(sys::stat(part)->st_size);
    ASSERT_EQ(::truncate(part.c_str(), static_cast<off_t>(size - 1)), 0);
    EXPECT_EQ(Reader::open(path).error().kind(), ErrorKind::kDamaged) << file;
    ASSERT_TRUE(sys::unlink(part).has_value());
    EXPECT_EQ(Reader::open(path).error().kind(), ErrorKind::kDamaged) << file;
    ASSERT_EQ(::mkfifo(part.c_str(), 0600), 0);  // Would block whoever opens it to read.
    EXPECT_EQ(Reader::open(path).error().kind(), ErrorKind::kDamaged) << file;
  }
}

TEST(Store, VerifiesAShareOfThePagesOthersEachTime) {
  TemporaryDirectory home;
  std::string path = write_checkpoint(home.path(), {.start = 0, .bytes = random_bytes(20 << 20, 3)}, {});
  EXPECT_EQ(verify(path)->blocks, 20u);
  EXPECT_EQ(verify(path, {.sample = 0.11, .progress = {}})->blocks, 3u);
  EXPECT_EQ(verify(path, {.sample = 0.0001, .progress = {}})->blocks, 1u);
  std::byte wrong{};
  overwrite(path + "/" + kPagesFile, 100, {&wrong, 1});
  bool found = false;
  for (int i = 0; i < 1000 && !found; ++i) found = !verify(path, {.sample = 0.1, .progress = {}}).has_value();
  EXPECT_TRUE(found);
}

TEST(Store, ReadsACheckpointWhoseManifestIsLost) {
  TemporaryDirectory home;
  std::string path = write_checkpoint(home.path(), mixed_content(), {});
  ASSERT_TRUE(sys::unlink(path + "/" + kManifestFile).has_value());
  EXPECT_TRUE(verify(path, {}).has_value());
}

// How an index is refused that no writer makes. Its first block is a raw one.
Error refusal_of(const std::function<void(image::PageIndex&)>& spoil) {
  TemporaryDirectory home;
  std::string path = write_checkpoint(home.path(), mixed_content(), {.compression = *parse_compression("none")});
  Result<std::unique_ptr<Reader>> reader = Reader::open(path);
  image::PageIndex index = (*reader)->index();
  std::stable_partition(index.blocks.begin(), index.blocks.end(),
                        [](const image::StoredBlock& block) { return block.storage == image::Storage::kRaw; });
  spoil(index);
  image::StreamEncoder encoder;
  encoder.put({.type = image::RecordType::kPageIndex, .payload = image::encode_index(index)});
  encoder.finish();
  Bytes records = encoder.take();
  EXPECT_EQ(::truncate((path + "/" + kRecordsFile).c_str(), static_cast<off_t>(records.size())), 0);
  overwrite(path + "/" + kRecordsFile, 0, records);
  Result<std::unique_ptr<Reader>> spoiled = Reader::open(path);
  EXPECT_FALSE(spoiled.has_value());
  return spoiled.has_value() ? failed("it was accepted") : std::move(spoiled).error();
}

TEST(Store, BelievesNothingThatItsIndexSays) {
  using Index = image::PageIndex;
  std::vector<std::function<void(Index&)>> ways = {
      [](Index& index) { index.pages_size += 1; },
      [](Index& index) { index.blocks[0].runs.clear(); },
      [](Index& index) { index.blocks[0].runs[0].size = 0; },
      [](Index& index) { index.blocks[0].runs[0].size = uint64_t{1} << 62; },
      [](Index& index) { index.blocks[0].runs[0].offset = ~uint64_t{0} - 5; },
      [](Index& index) { std::swap(index.blocks[0].runs[0], index.blocks[0].runs[1]); },
      [](Index& index) { index.blocks.push_back(index.blocks[0]); },
      [](Index& index) { index.blocks[0].storage = static_cast<image::Storage>(9); },
      [](Index& index) { index.blocks[0].stored_at = ~uint64_t{0}; },
      [](Index& index) { index.blocks[0].stored_at += 1; },
      [](Index& index) { index.blocks[0].stored_size = ~uint64_t{0}; },
      [](Index& index) { index.blocks[0].stored_size = 0; },
      [](Index& index) { index.blocks[0].size = image::kPageBufferSize + kPageSize; },
      [](Index& index) { index.blocks[0].size -= kPageSize; },
      [](Index& index) { index.blocks[0].runs.back().at += kPageSize; },
      [](Index& index) { index.blocks[0].runs[0].at = ~uint64_t{0} - 5; },
      [](Index& index) { index.blocks[0].checkpoint = 7; },
      [](Index& index) { index.leans_on.push_back({0, 0}); },
      [](Index& index) { index.leans_on.push_back({7, 0}); },
      [](Index& index) { index.leans_on.push_back({1, index.pages_size + 1}); },
  };
  for (size_t i = 0; i < ways.size(); ++i) EXPECT_EQ(refusal_of(ways[i]).kind(), ErrorKind::kDamaged) << "way " << i;
}

std::vector<CheckpointEntry> visible(const std::string& home) { return *Catalog(home).list("job"); }

TEST(Store, RemovesWhatADeadWriterLeftAndCountsOn) {
  TemporaryDirectory home;
  std::string checkpoints = Catalog(home.path()).checkpoints_of("job");
  write_checkpoint(checkpoints, {.start = 0, .bytes = Bytes(10)}, {});
  ASSERT_TRUE(sys::make_directories(checkpoints + "/2.partial", 0700).has_value());
  Result<std::unique_ptr<Writer>> writer = Writer::create(checkpoints, {});
  ASSERT_TRUE(writer.has_value()) << writer.error().text();
  EXPECT_EQ((*writer)->number(), 2u);
  EXPECT_EQ(visible(home.path()).size(), 1u);
  writer->reset();  // Never committed.
  EXPECT_FALSE(sys::stat(checkpoints + "/2.partial").has_value());
  EXPECT_EQ(visible(home.path()).size(), 1u);
}

TEST(Store, LetsOneWriterWorkAtATime) {
  TemporaryDirectory home;
  Result<std::unique_ptr<Writer>> first = Writer::create(home.path(), {});
  ASSERT_TRUE(first.has_value());
  Result<std::unique_ptr<Writer>> second = Writer::create(home.path(), {});
  ASSERT_FALSE(second.has_value());
  EXPECT_NE(second.error().text().find("another checkpoint of this job is being written"), std::string::npos);
  first->reset();
  EXPECT_TRUE(Writer::create(home.path(), {}).has_value());
}

TEST(Store, LeavesNothingWhateverSystemCallFails) {
  Content content{.start = 0x10000, .bytes = random_bytes(2 * image::kPageBufferSize + 100, 7)};
  long calls = 0;
  for (int os_errno : {ENOSPC, EIO}) {
    for (long n = 0; n <= calls; ++n) {
      TemporaryDirectory home;
      std::string checkpoints = Catalog(home.path()).checkpoints_of("job");
      Result<std::string> path = failed("not tried");
      {
        fault::Injection fault(n, os_errno);
        path = try_write_checkpoint(checkpoints, content, {});
        if (n == 0) calls = fault.calls();
      }
      if (path.has_value()) {
        EXPECT_TRUE(verify(*path, {}).has_value()) << n;
        continue;
      }
      EXPECT_NE(path.error().text().find(strerror(os_errno)), std::string::npos) << n << path.error().text();
      EXPECT_TRUE(visible(home.path()).empty()) << n << path.error().text();
      if (sys::stat(checkpoints).has_value()) {
        EXPECT_TRUE(sys::list_directory(checkpoints)->empty()) << n;
      }
    }
  }
  EXPECT_GT(calls, 15);
}

// NFS: a directory cannot be open for writing, so flock(2) refuses it; and rename knows no flags.
TEST(Store, DoesWithoutWhatNfsDoesNotHave) {
  Content content = mixed_content();
  for (auto [call, os_errno] : {std::pair("flock", EBADF), {"flock", ENOLCK}, {"renameat2", EINVAL}}) {
    TemporaryDirectory home;
    fault::Injection fault(call, os_errno);
    for (int number : {1, 2}) {
      Result<std::string> path = try_write_checkpoint(home.path(), content, {});
      ASSERT_TRUE(path.has_value()) << path.error().text();
      EXPECT_EQ(*path, home.path() + "/" + std::to_string(number));
      EXPECT_TRUE(verify(*path, {}).has_value()) << call;
    }
  }
}

void write_map(const char* path, const std::string& text) {
  Result<sys::UniqueFd> file = sys::open(path, O_WRONLY);
  CHECK(file.has_value() && sys::write_all(file->get(), bytes_of(text)).has_value());
}

// A small tmpfs at `path`, in a mount namespace of this process's own. Whose group is not mapped can make nothing
// there.
void mount_small(const std::string& path, unsigned kib) {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  CHECK(unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) == 0);
  if (uid != 0) {
    write_map("/proc/self/setgroups", "deny");
    write_map("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
    write_map("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
  }
  CHECK(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  CHECK(mount("tmpfs", path.c_str(), "tmpfs", 0, ("size=" + std::to_string(kib) + "k").c_str()) == 0);
}

// Exits with 0 when the checkpoint is whole, 1 when there was no room and it is told so, 2 for anything else.
[[noreturn]] void checkpoint_on_a_full_disk(const std::string& path, unsigned kib) {
  mount_small(path, kib);
  Content content{.start = 0x10000, .bytes = random_bytes(2 * image::kPageBufferSize, 8)};
  Result<std::string> written = try_write_checkpoint(path + "/job/checkpoints", content, {});
  if (written.has_value()) _exit(verify(*written, {}).has_value() ? 0 : 2);
  bool told = written.error().text().find("No space left on device (free space there") != std::string::npos;
  bool clean = visible(path).empty() && sys::list_directory(path + "/job/checkpoints")->empty();
  if (!told || !clean) fprintf(stderr, "%u KiB: %s\n", kib, written.error().text().c_str());
  _exit(told && clean ? 1 : 2);
}

TEST(Store, ToldOfAFullDiskAtAnyPointLeavesNothing) {
  TemporaryDirectory home;
  bool probe = false, was_full = false, was_enough = false;
  for (unsigned kib : {32, 100, 1000, 1028, 1040, 2000, 2048, 2052, 2056, 2060, 2064, 2068, 2072, 2200}) {
    pid_t child = fork();
    if (child == 0) checkpoint_on_a_full_disk(home.path(), kib);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (!probe && WIFSIGNALED(status)) GTEST_SKIP() << "this process may not mount a tmpfs of its own";
    probe = true;
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2) << kib << " KiB";
    (WEXITSTATUS(status) == 0 ? was_enough : was_full) = true;
  }
  EXPECT_TRUE(was_full && was_enough);
}

TEST(PageWriter, DoesTheWorkItselfWhereThereAreNoThreads) {
  TemporaryDirectory home;
  Result<sys::UniqueFd> file = sys::open(home.path() + "/pages", O_CREAT | O_RDWR, 0600);
  ASSERT_TRUE(file.has_value());
  PageWriter writer({file->get(), file->get(), home.path() + "/pages"}, {}, 0);
  std::shared_ptr<PagePool> pool = PagePool::create(0);
  Result<std::unique_ptr<image::PageBuffer>> buffer = pool->take();
  ASSERT_TRUE(buffer.has_value());
  std::fill_n((*buffer)->data(), kPageSize, std::byte{5});
  ASSERT_TRUE(writer.put({{1, 0, kPageSize}}, std::move(*buffer)).has_value());
  Result<PageWriter::Written> written = writer.finish();
  ASSERT_TRUE(written.has_value()) << written.error().text();
  EXPECT_EQ(written->blocks.size(), 1u);
}

TEST(PagePool, TakesNoMoreThanTheControlGroupsAboveLeave) {
  TemporaryDirectory home;
  auto limit = [&](const std::string& group, const char* most, const char* used) {
    ASSERT_TRUE(sys::make_directories(home.path() + group, 0700).has_value());
    for (const auto& [name, text] : {std::pair("/memory.max", most), std::pair("/memory.current", used)}) {
      Result<sys::UniqueFd> file = sys::open(home.path() + group + name, O_CREAT | O_WRONLY, 0600);
      ASSERT_TRUE(file.has_value() && sys::write_all(file->get(), bytes_of(text)).has_value());
    }
  };
  limit("/slurm", "5000\n", "2000\n");
  limit("/slurm/job_1", "max\n", "1500\n");
  limit("/slurm/job_1/step", "9000\n", "1000\n");
  EXPECT_EQ(left_in_control_groups("1:cpu:/x\n0::/slurm/job_1/step\n", home.path()), 3000u);
  limit("/slurm/job_1/step", "9000\n", "9500\n");
  EXPECT_EQ(left_in_control_groups("0::/slurm/job_1/step\n", home.path()), 0u);
  EXPECT_EQ(left_in_control_groups("0::/\n", home.path()), ~uint64_t{0});
  EXPECT_EQ(left_in_control_groups("4:memory:/slurm\n", home.path()), ~uint64_t{0});
}

TEST(PagePool, HandsOutAgainWhatCameBack) {
  std::shared_ptr<PagePool> pool = PagePool::create(0);
  std::unique_ptr<image::PageBuffer> first = std::move(*pool->take());
  std::byte* where = first->data();
  first.reset();
  EXPECT_EQ((*pool->take())->data(), where);
}

}  // namespace
}  // namespace stint::store
