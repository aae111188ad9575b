#include "abi/ledger_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>

namespace stint::abi {
namespace {

// A ledger of one chunk, filled by hand.
class Made {
 public:
  Made() : bytes_(ledger_size(1)) {
    Bytes header = empty_ledger(1);
    std::memcpy(bytes_.data(), header.data(), header.size());
    put(sizeof(LedgerHeader), (uint64_t{7} << 32) | 42);
    chunk_.incarnation = 7;
    chunk_.pid = 42;
    chunk_.used = sizeof(LedgerChunk);
    put_chunk();
  }
  const Bytes& bytes() const { return bytes_; }
  template <class T>
  void put(uint64_t offset, const T& value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof value);
  }
  LedgerChunk& chunk() { return chunk_; }
  void put_chunk() { put(ledger_chunks_offset(1), chunk_); }

  // Appends an entry; returns where it is.
  uint64_t append(OpenedNote note, const std::string& texts) {
    uint64_t offset = ledger_chunks_offset(1) + chunk_.used;
    note.entry.capacity = (kLedgerFixedSize + texts.size() + kLedgerGranule - 1) & ~(kLedgerGranule - 1);
    put(offset, note);
    std::memcpy(bytes_.data() + offset + kLedgerFixedSize, texts.data(), texts.size());
    chunk_.used += note.entry.capacity;
    put_chunk();
    return offset;
  }

 private:
  Bytes bytes_;
  LedgerChunk chunk_{};
};

OpenedNote opened(int fd, uint32_t name_size, uint32_t directory_size = 0) {
  return {.entry = {.kind = kLedgerOpened, .capacity = 0, .name_size = name_size, .directory_size = directory_size},
          .fd = fd,
          .dup_of = -1,
          .directory_fd = AT_FDCWD,
          .flags = O_RDWR};
}

TEST(LedgerReader, ReadsANewLedgerAsEmpty) {
  Bytes bytes = empty_ledger();
  bytes.resize(ledger_size(kLedgerChunks));
  Result<Ledger> ledger = read_ledger(bytes);
  ASSERT_TRUE(ledger.has_value());
  EXPECT_TRUE(ledger->processes.empty());
  EXPECT_EQ(ledger->find(42), nullptr);
}

TEST(LedgerReader, RebuildsADescriptorsAbsolutePath) {
  Made made;
  made.append(opened(3, 4, 5), "name/home");
  made.append(opened(4, 4), "/abs");
  OpenedNote of_directory = opened(5, 4);
  of_directory.directory_fd = 9;
  made.append(of_directory, "name");
  Ledger ledger = read_ledger(made.bytes()).value();
  ASSERT_NE(ledger.find(42), nullptr);
  LedgerProcess process = *ledger.find(42);
  EXPECT_EQ(process.incarnation, 7u);
  EXPECT_EQ(process.descriptors[3].path(), "/home/name");
  EXPECT_EQ(process.descriptors[3].flags, uint32_t{O_RDWR});
  EXPECT_EQ(process.descriptors[4].path(), "/abs");
  EXPECT_EQ(process.descriptors[5].path(), "");
}

TEST(LedgerReader, SkipsAnEntryWhoseWriterWasKilled) {
  Made made;
  made.append(opened(3, 4), "/one");
  uint64_t unfinished = made.append(opened(4, 4), "/two");
  made.put(unfinished, LedgerEntry{.kind = kLedgerNothing, .capacity = 64, .name_size = 4, .directory_size = 0});
  made.chunk().used += 3 * kLedgerGranule;  // reserved by another one, and still zeros
  made.append(opened(5, 6), "/three");
  std::map<int, LedgerDescriptor> descriptors = read_ledger(made.bytes()).value().find(42)->descriptors;
  EXPECT_EQ(descriptors.size(), 2u);
  EXPECT_EQ(descriptors[3].name, "/one");
  EXPECT_EQ(descriptors[5].name, "/three");
}

TEST(LedgerReader, BelievesNoLength) {
  Made made;
  made.append(opened(3, 4000), "/one");                 // the name would not fit into the entry
  made.append(opened(4, UINT32_MAX, UINT32_MAX), "x");  // the sum of the two is small again in 32 bits
  uint64_t last = made.append(opened(5, 4), "/two");
  made.put(last + offsetof(LedgerEntry, capacity), uint32_t{1} << 30);
  made.chunk().used = UINT32_MAX;
  made.put_chunk();
  EXPECT_TRUE(read_ledger(made.bytes()).value().find(42)->descriptors.empty());
}

TEST(LedgerReader, LeavesOutAChunkThatIsBeingTaken) {
  Made made;
  made.append(opened(3, 4), "/one");
  made.chunk().incarnation = 8;  // the owner word says 7
  made.put_chunk();
  EXPECT_EQ(read_ledger(made.bytes()).value().find(42), nullptr);
}

TEST(LedgerReader, RefusesWhatIsNotALedgerOfThisVersion) {
  EXPECT_EQ(read_ledger({}).error().kind(), ErrorKind::kDamaged);
  Made made;
  EXPECT_EQ(read_ledger(ByteView(made.bytes()).first(5000)).error().kind(), ErrorKind::kDamaged);
  made.put(offsetof(LedgerHeader, version), kLedgerVersion + 1);
  EXPECT_EQ(read_ledger(made.bytes()).error().kind(), ErrorKind::kUnfit);
  made.put(0, uint64_t{0});
  EXPECT_EQ(read_ledger(made.bytes()).error().text(), "not a ledger");
}

}  // namespace
}  // namespace stint::abi
