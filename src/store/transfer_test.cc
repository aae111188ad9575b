#include "store/transfer.h"

#include <fcntl.h>
#include <unistd.h>

#include "store/catalog.h"
#include "store/checkpoint_dir.h"
#include "store/store_testing.h"
#include "store/verify.h"

namespace stint::store {
namespace {

constexpr uint64_t kSpace = 7;

// A checkpoint that leans on another one, and its stream.
class Transfer : public testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 2; ++i) {
      Bytes page = random_bytes(kPageSize, 9 + i);
      std::ranges::copy(page, content_.begin());
      std::unique_ptr<Writer> writer = std::move(
          *Writer::create(home_.path() + "/from", {.compression = *parse_compression(i == 0 ? "zstd" : "none")}));
      std::unique_ptr<image::PageBuffer> buffer = std::move(*writer->page_buffer());
      std::ranges::copy(content_, buffer->data());
      ASSERT_TRUE(writer->put_pages({{kSpace, 0x10000, content_.size()}}, std::move(buffer)).has_value());
      image::JobRecord job;
      job.name = "sim", job.arguments = {"ngspice"};
      ASSERT_TRUE(writer->put({.type = image::RecordType::kJob, .payload = image::encode(job)}).has_value());
      writer->manifest().command = "ngspice";
      ASSERT_TRUE(writer->commit().has_value());
    }
    sys::UniqueFd file = *sys::open(stream(), O_WRONLY | O_CREAT, 0600);
    Result<> exported = export_checkpoint(home_.path() + "/from/2", file.get());
    ASSERT_TRUE(exported.has_value()) << exported.error().text();
    bytes_ = *sys::read_file(stream());
  }

  std::string stream() const { return home_.path() + "/stream"; }

  Result<uint64_t> import(const Bytes& bytes) {
    sys::UniqueFd file = *sys::open(stream(), O_RDWR | O_TRUNC);
    EXPECT_TRUE(sys::write_all(file.get(), bytes).has_value());
    EXPECT_EQ(::lseek(file.get(), 0, SEEK_SET), 0);
    Import begun = TRY(Import::begin(file.get()));
    EXPECT_EQ(begun.job().name, "sim");
    return begun.finish(home_.path() + "/to");
  }

  TemporaryDirectory home_;
  Bytes content_ = random_bytes(100 * kPageSize, 1), bytes_;
};

TEST_F(Transfer, WhatCameFromSeveralCheckpointsIsOne) {
  Result<uint64_t> number = import(bytes_);
  ASSERT_TRUE(number.has_value()) << number.error().text();
  EXPECT_EQ(*number, 1u);
  EXPECT_TRUE(verify(home_.path() + "/to/1", {}).has_value());
  Result<std::unique_ptr<Reader>> reader = Reader::open(home_.path() + "/to/1");
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  EXPECT_TRUE((*reader)->index().leans_on.empty());
  EXPECT_EQ(read_space(**reader, kSpace), content_);
}

TEST_F(Transfer, MayGoOnFromWhereItCame) {
  ASSERT_TRUE(import(bytes_).has_value());
  sys::UniqueFd file = *sys::open(stream(), O_WRONLY | O_TRUNC);
  ASSERT_TRUE(export_checkpoint(home_.path() + "/to/1", file.get()).has_value());
  Result<uint64_t> number = import(*sys::read_file(stream()));
  ASSERT_TRUE(number.has_value()) << number.error().text();
  EXPECT_EQ(*number, 2u);
  EXPECT_EQ(read_space(**Reader::open(home_.path() + "/to/2"), kSpace), content_);
}

TEST_F(Transfer, AStreamThatIsCutOrChangedMakesNoCheckpoint) {
  for (size_t size : {size_t{0}, size_t{15}, size_t{20}, bytes_.size() / 2, bytes_.size() - 1})
    EXPECT_EQ(import(Bytes(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(size))).error().kind(),
              ErrorKind::kDamaged)
        << size;
  for (size_t at = 0; at < bytes_.size(); at += bytes_.size() / 40) {
    Bytes changed = bytes_;
    changed[at] ^= std::byte{0x40};
    Result<uint64_t> number = import(changed);
    if (!number.has_value()) continue;
    // A byte of the manifest, which only informs, or between two blocks, which means nothing.
    Result<std::unique_ptr<Reader>> reader = Reader::open(home_.path() + "/to/" + std::to_string(*number));
    ASSERT_TRUE(reader.has_value());
    EXPECT_EQ(read_space(**reader, kSpace), content_) << at;
  }
  std::vector<std::string> names = *sys::list_directory(home_.path() + "/to");
  for (const std::string& name : names) EXPECT_FALSE(name.ends_with(kPartialSuffix)) << name;
}

}  // namespace
}  // namespace stint::store
