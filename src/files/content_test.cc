#include "files/content.h"

#include <gtest/gtest.h>

#include "files/test_directory.h"
#include "image/memory_stream.h"

namespace stint::files {
namespace {

constexpr uint64_t kSpace = image::kObjectSpace | 5;

Hash128 hash_of(const std::string& path, uint64_t size) {
  sys::UniqueFd file = std::move(*sys::open(path, O_RDONLY));
  Result<Hash128> hash = hash_content(file.get(), size);
  EXPECT_TRUE(hash.has_value());
  return hash.value_or(Hash128());
}

class ContentOn : public testing::TestWithParam<const char*> {};

TEST_P(ContentOn, ASparseFileComesBackSparse) {
  TestDirectory directory(GetParam());
  std::string path = directory / "sparse";
  sys::UniqueFd file = std::move(*sys::open(path, O_RDWR | O_CREAT, 0600));
  uint64_t size = (uint64_t{3} << 30) + 17;
  ASSERT_TRUE(sys::ftruncate(file.get(), size).has_value());
  ASSERT_TRUE(sys::pwrite_all(file.get(), bytes_of("first"), 100'001).has_value());
  ASSERT_TRUE(sys::pwrite_all(file.get(), bytes_of("last"), size - 4).has_value());
  image::MemoryStream stream;
  Result<Hash128> saved = save_content(file.get(), size, kSpace, stream);
  ASSERT_TRUE(saved.has_value()) << saved.error().text();
  EXPECT_EQ(*saved, hash_of(path, size));
  EXPECT_LE(stored_size(stream, kSpace), 3 * kContentBlock);

  std::string copy = directory / "copy";
  write_file(copy, "what was there before, and longer than the first block's first bytes");
  sys::UniqueFd to = std::move(*sys::open(copy, O_RDWR));
  ASSERT_TRUE(write_content(stream, kSpace, size, to.get()).has_value());
  EXPECT_EQ(hash_of(copy, size), *saved);
  EXPECT_EQ(static_cast<uint64_t>(stat_of(copy).st_size), size);
  EXPECT_LT(stat_of(copy).st_blocks * 512, 1 << 20);
}

INSTANTIATE_TEST_SUITE_P(FileSystems, ContentOn, testing::Values("/var/tmp", "/dev/shm"));

TEST(Content, ZerosAndHolesHashAlike) {
  TestDirectory directory;
  write_file(directory / "zeros", std::string(300'000, '\0') + "x");
  write_file(directory / "hole", "");
  sys::UniqueFd hole = std::move(*sys::open(directory / "hole", O_RDWR));
  ASSERT_TRUE(sys::pwrite_all(hole.get(), bytes_of("x"), 300'000).has_value());
  EXPECT_EQ(hash_of(directory / "zeros", 300'001), hash_of(directory / "hole", 300'001));
}

TEST(Content, TheHashTellsSizePlaceAndBytesApart) {
  TestDirectory directory;
  std::string zeros(1 << 20, '\0');
  write_file(directory / "a", zeros);
  Hash128 plain = hash_of(directory / "a", zeros.size());
  EXPECT_NE(plain, hash_of(directory / "a", zeros.size() - 1));
  for (size_t at : {size_t{0}, size_t{70'000}, zeros.size() - 1}) {
    std::string changed = zeros;
    changed[at] = 'x';
    write_file(directory / "b", changed);
    EXPECT_NE(plain, hash_of(directory / "b", zeros.size())) << at;
  }
  write_file(directory / "c", std::string(kContentBlock, 'x') + std::string(kContentBlock, '\0'));
  write_file(directory / "d", std::string(kContentBlock, '\0') + std::string(kContentBlock, 'x'));
  EXPECT_NE(hash_of(directory / "c", 2 * kContentBlock), hash_of(directory / "d", 2 * kContentBlock));
}

TEST(Content, APrefixHashesLikeTheFileThatItWas) {
  TestDirectory directory;
  std::string text(200'003, 'y');
  write_file(directory / "log", text);
  Hash128 before = hash_of(directory / "log", text.size());
  append(directory / "log", "more");
  EXPECT_EQ(hash_of(directory / "log", text.size()), before);
  EXPECT_NE(hash_of(directory / "log", text.size() + 4), before);
}

TEST(Content, AFileThatIsShorterThanSaidIsAnError) {
  TestDirectory directory;
  write_file(directory / "short", "12345");
  sys::UniqueFd file = std::move(*sys::open(directory / "short", O_RDONLY));
  EXPECT_FALSE(hash_content(file.get(), 6).has_value());
}

TEST(Content, RunsBeyondTheEndAreDamage) {
  TestDirectory directory;
  write_file(directory / "f", std::string(1000, 'z'));
  sys::UniqueFd file = std::move(*sys::open(directory / "f", O_RDWR));
  image::MemoryStream stream;
  ASSERT_TRUE(save_content(file.get(), 1000, kSpace, stream).has_value());
  Result<> written = write_content(stream, kSpace, 999, file.get());
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().kind(), ErrorKind::kDamaged);
}

}  // namespace
}  // namespace stint::files
