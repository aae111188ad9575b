// Checkpoints that lean on others: what is the same is not stored again, what was put twice is there once, and a link
// that is broken shows.
#include <gtest/gtest.h>

#include <cstring>

#include "store/catalog.h"
#include "store/checkpoint_dir.h"
#include "store/store_testing.h"
#include "store/verify.h"

namespace stint::store {
namespace {

constexpr uint64_t kSpace = 7, kStart = 0x10000;

std::unique_ptr<Writer> new_writer(const std::string& checkpoints, bool full = false) {
  Result<std::unique_ptr<Writer>> writer =
      Writer::create(checkpoints, {.compression = *parse_compression("none"), .full = full});
  EXPECT_TRUE(writer.has_value()) << writer.error().text();
  return std::move(*writer);
}

// Puts pages [from, to) of `memory`, which is what lies from kStart on.
void put(Writer& writer, const Bytes& memory, size_t from, size_t to) {
  std::unique_ptr<image::PageBuffer> buffer = std::move(*writer.page_buffer());
  std::memcpy(buffer->data(), memory.data() + from * kPageSize, (to - from) * kPageSize);
  ASSERT_TRUE(
      writer.put_pages({{kSpace, kStart + from * kPageSize, (to - from) * kPageSize}}, std::move(buffer)).has_value());
}

Range pages(size_t from, size_t to) { return {kStart + from * kPageSize, kStart + to * kPageSize}; }

std::unique_ptr<Reader> reopen(const Writer& writer) {
  Result<std::unique_ptr<Reader>> reader = Reader::open(writer.path());
  EXPECT_TRUE(reader.has_value()) << reader.error().text();
  return std::move(*reader);
}

void scribble(Bytes& memory, size_t page, uint64_t seed) {
  Bytes random = random_bytes(kPageSize, seed);
  std::ranges::copy(random, memory.begin() + static_cast<ptrdiff_t>(page * kPageSize));
}

TEST(Lean, APageThatWasPutTwiceIsThereOnceAsItWasLast) {
  TemporaryDirectory home;
  Bytes memory = random_bytes(300 * kPageSize, 1);
  std::unique_ptr<Writer> writer = new_writer(home.path());
  put(*writer, memory, 0, 256);
  put(*writer, memory, 256, 300);
  for (size_t page : {0, 7, 8, 255, 256}) {
    scribble(memory, page, 100 + page);
    put(*writer, memory, page, page + 1);
  }
  scribble(memory, 7, 99);
  put(*writer, memory, 7, 8);
  std::fill_n(memory.begin() + 20 * kPageSize, kPageSize, std::byte{0});
  put(*writer, memory, 20, 21);
  ASSERT_TRUE(writer->commit().has_value());
  EXPECT_EQ(read_space(*reopen(*writer), kSpace), memory);
  EXPECT_TRUE(verify(writer->path(), {}).has_value());
}

TEST(Lean, WhatIsNotSettledOnIsGone) {
  TemporaryDirectory home;
  Bytes memory = random_bytes(100 * kPageSize, 2);
  std::unique_ptr<Writer> writer = new_writer(home.path());
  put(*writer, memory, 0, 100);
  ASSERT_TRUE(writer->settle(kSpace, {pages(0, 10), pages(50, 51), pages(51, 60)}, {}).has_value());
  ASSERT_TRUE(writer->commit().has_value());
  std::vector<Range> kept;
  std::unique_ptr<Reader> reader = reopen(*writer);
  for (const image::Source::Block& block : reader->blocks(kSpace))
    for (const image::PageRun& run : block.runs) kept.push_back({run.offset, run.offset + run.size});
  EXPECT_EQ(kept, (std::vector<Range>{pages(0, 10), pages(50, 60)}));
  Bytes found = read_space(*reader, kSpace);
  EXPECT_TRUE(std::equal(found.begin() + 50 * kPageSize, found.end(), memory.begin() + 50 * kPageSize));
}

TEST(Lean, APageThatWasNeverPutIsMissed) {
  TemporaryDirectory home;
  Bytes memory = random_bytes(10 * kPageSize, 3);
  std::unique_ptr<Writer> writer = new_writer(home.path());
  put(*writer, memory, 0, 5);
  put(*writer, memory, 6, 10);
  ASSERT_TRUE(writer->settle(kSpace, {pages(0, 10)}, {}).has_value());
  Result<> committed = writer->commit();
  ASSERT_FALSE(committed.has_value());
  EXPECT_NE(committed.error().text().find("0x15000"), std::string::npos) << committed.error().text();
}

// A first checkpoint of `memory`, and a second one that leans on it.
struct Two {
  TemporaryDirectory home;
  Bytes memory = random_bytes(600 * kPageSize, 4);
  std::unique_ptr<Writer> first, second;

  Two() {
    first = new_writer(home.path());
    put_all(*first);
    EXPECT_TRUE(first->commit().has_value());
    std::string path = first->path();
    first.reset();
    second = new_writer(home.path());
    EXPECT_EQ(second->base(), 1u);
  }
  void put_all(Writer& writer) {
    for (size_t at = 0; at < 600; at += 200) put(writer, memory, at, at + 200);
  }
};

TEST(Lean, OnlyPagesThatAreNotTheSameAreStoredAgain) {
  Two two;
  scribble(two.memory, 5, 1);
  scribble(two.memory, 599, 2);
  two.put_all(*two.second);
  ASSERT_TRUE(two.second->commit().has_value());
  std::unique_ptr<Reader> reader = reopen(*two.second);
  EXPECT_EQ(reader->index().pages_size, 2 * kPageSize);
  EXPECT_EQ(reader->index().leans_on.size(), 1u);
  EXPECT_EQ(read_space(*reader, kSpace), two.memory);
}

TEST(Lean, WhatWasLeftAloneNeedNotBePut) {
  Two two;
  scribble(two.memory, 300, 1);
  put(*two.second, two.memory, 300, 301);
  ASSERT_TRUE(two.second->settle(kSpace, {pages(0, 600)}, {pages(0, 300), pages(301, 600)}).has_value());
  ASSERT_TRUE(two.second->commit().has_value());
  EXPECT_EQ(read_space(*reopen(*two.second), kSpace), two.memory);
}

TEST(Lean, WhatWasNotLeftAloneIsNotTakenFromTheBase) {
  Two two;
  ASSERT_TRUE(two.second->settle(kSpace, {pages(0, 600)}, {pages(0, 300), pages(301, 600)}).has_value());
  EXPECT_FALSE(two.second->commit().has_value());
}

TEST(Lean, ASpaceThatIsNotPutAgainIsGone) {
  Two two;
  ASSERT_TRUE(two.second->commit().has_value());
  EXPECT_TRUE(reopen(*two.second)->blocks(kSpace).empty());
  EXPECT_TRUE(reopen(*two.second)->index().leans_on.empty());
}

TEST(Lean, WithoutHashesEverythingIsStoredAgain) {
  for (const char* how : {"missing", "damaged"}) {
    Two two;
    two.second.reset();
    std::string hashes = two.home.path() + "/1/" + kHashesFile;
    Result<sys::UniqueFd> file = sys::open(hashes, O_WRONLY);
    ASSERT_TRUE(file.has_value());
    Bytes zeroes(300 * 16);
    if (how == std::string("damaged")) {
      ASSERT_TRUE(sys::pwrite_all(file->get(), zeroes, 0).has_value());
    } else {
      ASSERT_TRUE(sys::unlink(hashes).has_value());
    }
    two.second = new_writer(two.home.path());
    two.put_all(*two.second);
    ASSERT_TRUE(two.second->commit().has_value());
    EXPECT_GE(reopen(*two.second)->index().pages_size, 300 * kPageSize) << how;
    EXPECT_EQ(read_space(*reopen(*two.second), kSpace), two.memory);
  }
}

TEST(Lean, ABrokenLinkIsFoundAndNamed) {
  Two two;
  scribble(two.memory, 5, 1);
  two.put_all(*two.second);
  ASSERT_TRUE(two.second->commit().has_value());
  std::string base = two.home.path() + "/1", pages = base + "/" + kPagesFile;
  Result<Bytes> before = sys::read_file(pages);
  ASSERT_TRUE(before.has_value());
  std::byte flipped = (*before)[100 * kPageSize] ^ std::byte{1};
  Result<sys::UniqueFd> file = sys::open(pages, O_WRONLY);
  ASSERT_TRUE(file.has_value() && sys::pwrite_all(file->get(), {&flipped, 1}, 100 * kPageSize).has_value());
  Result<Verified> verified = verify(two.second->path(), {});
  ASSERT_FALSE(verified.has_value());
  EXPECT_EQ(verified.error().kind(), ErrorKind::kDamaged);
  EXPECT_NE(verified.error().text().find(pages), std::string::npos) << verified.error().text();
  ASSERT_TRUE(sys::remove_tree(base).has_value());
  Result<std::unique_ptr<Reader>> reader = Reader::open(two.second->path());
  ASSERT_FALSE(reader.has_value());
  EXPECT_EQ(reader.error().kind(), ErrorKind::kDamaged);
  EXPECT_NE(reader.error().text().find("leans on checkpoint 1"), std::string::npos) << reader.error().text();
}

TEST(Lean, AChainEndsWhenItHoldsMoreThanItIsWorth) {
  TemporaryDirectory home;
  Bytes memory = random_bytes(100 * kPageSize, 5);
  uint64_t full = 0;
  for (uint64_t i = 1; i <= 12; ++i) {
    std::unique_ptr<Writer> writer = new_writer(home.path());
    for (size_t page = 0; page < 100; ++page)
      if (page % 12 >= i) scribble(memory, page, i * 100 + page);  // A few of each one stay wanted.
    put(*writer, memory, 0, 100);
    ASSERT_TRUE(writer->commit().has_value());
    std::unique_ptr<Reader> reader = reopen(*writer);
    EXPECT_EQ(read_space(*reader, kSpace), memory) << i;
    if (reader->index().leans_on.empty()) full = i;
  }
  EXPECT_GT(full, 2u);
}

}  // namespace
}  // namespace stint::store
