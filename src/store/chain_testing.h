// What the tests of forgetting and pruning share: checkpoints of one job that lean on each other.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "store/catalog.h"
#include "store/checkpoint_dir.h"
#include "store/forget.h"
#include "store/store_testing.h"
#include "store/verify.h"

namespace stint::store {

// Checkpoints of one job, each of which differs from the one before it in one page, and leans on those before it.
class Chain : public testing::Test {
 protected:
  static constexpr uint64_t kSpace = 7, kStart = 0x10000;
  static constexpr size_t kPages = 100;  // in two blocks

  Chain() : catalog_(home_.path()), checkpoints_(catalog_.checkpoints_of("sim")) {}

  void add(bool full = false) {
    ++taken_;
    change(taken_ % kPages, 1);
    Result<std::unique_ptr<Writer>> made =
        Writer::create(checkpoints_, {.compression = *parse_compression("none"), .full = full});
    ASSERT_TRUE(made.has_value()) << made.error().text();
    for (size_t half = 0; half < 2; ++half) {
      size_t size = memory_.size() / 2;
      std::unique_ptr<image::PageBuffer> buffer = std::move(*(*made)->page_buffer());
      std::ranges::copy(ByteView(memory_).subspan(half * size, size), buffer->data());
      ASSERT_TRUE((*made)->put_pages({{kSpace, kStart + half * size, size}}, std::move(buffer)).has_value());
    }
    ASSERT_TRUE((*made)->commit().has_value());
    then_[(*made)->number()] = memory_;
  }
  // Gives some pages other contents.
  void change(size_t first, size_t count) {
    Bytes pages = random_bytes(count * kPageSize, ++seed_);
    std::ranges::copy(pages, memory_.begin() + static_cast<ptrdiff_t>(first * kPageSize));
  }

  std::vector<CheckpointEntry> entries() const { return *catalog_.list("sim"); }
  std::vector<uint64_t> numbers() const {
    std::vector<uint64_t> all;
    for (const CheckpointEntry& entry : entries()) all.push_back(entry.number);
    return all;
  }
  void keep(const std::set<uint64_t>& kept) {
    Result<Forgotten> done = forget(checkpoints_, entries(), kept);
    ASSERT_TRUE(done.has_value()) << done.error().text();
  }
  void all_are_whole() const {
    for (const CheckpointEntry& entry : entries()) {
      EXPECT_TRUE(verify(entry.path, {}).has_value()) << entry.number;
      Result<std::unique_ptr<Reader>> reader = Reader::open(entry.path);
      ASSERT_TRUE(reader.has_value()) << reader.error().text();
      EXPECT_EQ(read_space(**reader, kSpace), then_.at(entry.number)) << entry.number;
    }
  }
  std::vector<std::string> names() const { return *sys::list_directory(checkpoints_); }

  TemporaryDirectory home_;
  Catalog catalog_;
  std::string checkpoints_;
  Bytes memory_ = random_bytes(kPages * kPageSize, 4);
  std::map<uint64_t, Bytes> then_;  // by number of the checkpoint
  uint64_t taken_ = 0, seed_ = 1000;
};

}  // namespace stint::store
