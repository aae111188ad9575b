#include "files/hash_cache.h"

#include <gtest/gtest.h>

#include "files/content.h"
#include "files/test_directory.h"

namespace stint::files {
namespace {

struct stat some_stat(uint64_t inode) {
  struct stat stat{};
  stat.st_dev = 8;
  stat.st_ino = inode;
  stat.st_size = 100;
  stat.st_mtim = {.tv_sec = 1000, .tv_nsec = 5};
  stat.st_ctim = {.tv_sec = 2000, .tv_nsec = 6};
  return stat;
}

KnownFile some_content(uint64_t low) { return {.content = {.low = low, .high = 1}, .build_id = "abcd"}; }

TEST(HashCache, KeepsWhatItLearnedAcrossProcesses) {
  TestDirectory directory;
  HashCache first(directory / "hashes");
  first.remember(some_stat(1), some_content(11));
  ASSERT_TRUE(first.store().has_value());
  HashCache second(directory / "hashes");
  std::optional<KnownFile> known = second.find(some_stat(1));
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->content.low, 11u);
  EXPECT_EQ(known->build_id, "abcd");
  EXPECT_EQ(sys::list_directory(directory.path())->size(), 1u);  // Nothing partial is left.
}

TEST(HashCache, ForgetsAFileOfWhichAnythingChanged) {
  HashCache cache;
  cache.remember(some_stat(1), some_content(11));
  struct stat changed = some_stat(1);
  changed.st_size = 101;
  EXPECT_FALSE(cache.find(changed).has_value());
  changed = some_stat(1);
  changed.st_mtim.tv_nsec++;
  EXPECT_FALSE(cache.find(changed).has_value());
  changed = some_stat(1);
  changed.st_ctim.tv_nsec++;
  EXPECT_FALSE(cache.find(changed).has_value());
  EXPECT_TRUE(cache.find(some_stat(1)).has_value());
}

TEST(HashCache, IsEmptyWhenAnyByteOfItIsDamaged) {
  TestDirectory directory;
  HashCache cache(directory / "hashes");
  cache.remember(some_stat(1), some_content(11));
  ASSERT_TRUE(cache.store().has_value());
  std::string whole = content(directory / "hashes");
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    write_file(directory / "hashes", damaged);
    EXPECT_EQ(HashCache(directory / "hashes").size(), 0u) << at;
    write_file(directory / "hashes", whole.substr(0, at));
    EXPECT_EQ(HashCache(directory / "hashes").size(), 0u) << at;
  }
  write_file(directory / "hashes", whole);
  EXPECT_EQ(HashCache(directory / "hashes").size(), 1u);
}

TEST(HashCache, DropsWhatWasUsedLongestAgo) {
  TestDirectory directory;
  HashCache cache(directory / "hashes", 2);
  for (uint64_t inode : {1, 2, 3}) cache.remember(some_stat(inode), some_content(inode));
  EXPECT_TRUE(cache.find(some_stat(1)).has_value());
  ASSERT_TRUE(cache.store().has_value());
  HashCache back(directory / "hashes", 2);
  EXPECT_TRUE(back.find(some_stat(1)).has_value());
  EXPECT_FALSE(back.find(some_stat(2)).has_value());
  EXPECT_TRUE(back.find(some_stat(3)).has_value());
}

TEST(HashCache, DoesNotTrustAFileThatWasChangedJustNow) {
  TestDirectory directory;
  write_file(directory / "fresh", "one");
  HashCache cache;
  sys::UniqueFd file = std::move(*sys::open(directory / "fresh", O_RDONLY));
  Result<KnownFile> known = know_file(file.get(), cache);
  ASSERT_TRUE(known.has_value()) << known.error().text();
  EXPECT_EQ(known->build_id, "");
  EXPECT_EQ(cache.size(), 0u);
  age(directory / "fresh");  // mtime alone can be made up: ctime is what counts.
  ASSERT_TRUE(know_file(file.get(), cache).has_value());
  EXPECT_EQ(cache.size(), 0u);
}

TEST(HashCache, KnowsAProgramByItsBuildId) {
  HashCache cache;
  sys::UniqueFd file = std::move(*sys::open("/bin/true", O_RDONLY));
  Result<KnownFile> known = know_file(file.get(), cache);
  ASSERT_TRUE(known.has_value()) << known.error().text();
  EXPECT_EQ(known->build_id.size(), 40u);
  EXPECT_EQ(cache.size(), 1u);
  // From now on it is not read: what the cache says is believed.
  struct stat stat = stat_of("/bin/true");
  ASSERT_TRUE(S_ISREG(stat.st_mode));
  cache.remember(stat, some_content(7));
  EXPECT_EQ(know_file(file.get(), cache)->content.low, 7u);
}

}  // namespace
}  // namespace stint::files
