// A checkpoint that an earlier build wrote, committed: as long as this one reads it to the same JSON, the format is the
// same. It holds one record of every kind, each field with a value of its own. A change of the format shows here.
// Before the first release it is answered by writing the golden checkpoint anew (STINT_GOLDEN_WRITE=1 in the
// environment of this test); after it, by a new version and a second golden checkpoint.
#include <gtest/gtest.h>

#include "image/file_records.h"
#include "image/inet_records.h"
#include "image/ipc_records.h"
#include "image/memory_records.h"
#include "image/record_kinds.h"
#include "image/task_records.h"
#include "store/show.h"
#include "store/store_testing.h"

namespace stint::store {
namespace {

// A visitor that gives every field a value that no other has.
class Filler {
 public:
  template <class T>
  void operator()(const char* name, T& value) {
    fill(name, value);
  }

 private:
  template <image::Scalar T>
  void fill(const char*, T& value) {
    if constexpr (std::is_enum_v<T>)
      value = static_cast<T>(1);
    else
      value = static_cast<T>(++last_);
  }
  void fill(const char*, bool& value) { value = true; }
  void fill(const char* name, std::string& value) { value = name + std::to_string(++last_); }
  void fill(const char*, Bytes& value) { value.assign(3, static_cast<std::byte>(++last_)); }
  void fill(const char*, Hash128& value) { value = {++last_, ++last_}; }
  template <class T>
  void fill(const char* name, std::optional<T>& value) {
    fill(name, value.emplace());
  }
  template <class T>
  void fill(const char* name, std::vector<T>& values) {
    values.resize(2);
    for (T& value : values) fill(name, value);
  }
  template <class T, size_t N>
  void fill(const char* name, std::array<T, N>& values) {
    for (T& value : values) fill(name, value);
  }
  template <class T>
    requires requires(T& t, Filler& f) { t.fields(f); }
  void fill(const char*, T& value) {
    value.fields(*this);
  }

  uint64_t last_ = 0;
};

template <class R>
image::Record filled(image::RecordType type) {
  R record;
  Filler filler;
  record.fields(filler);
  return {.type = type, .payload = image::encode(record)};
}

std::vector<image::Record> one_of_each() {
  using enum image::RecordType;
  return {filled<image::JobRecord>(kJob),
          filled<image::ProcessRecord>(kProcess),
          filled<image::ThreadRecord>(kThread),
          filled<image::ZombieRecord>(kZombie),
          filled<image::MappedFileRecord>(kMappedFile),
          filled<image::VmaRecord>(kVma),
          filled<image::SharedMemoryRecord>(kSharedMemory),
          filled<image::AioRingRecord>(kAioRing),
          filled<image::DescriptorRecord>(kDescriptor),
          filled<image::ClosedEndRecord>(kClosedEnd),
          filled<image::FileStateRecord>(kFileState),
          {.type = kAgent, .payload = Bytes(5)},
          filled<image::RegularFileRecord>(kRegularFile),
          filled<image::DirectoryRecord>(kDirectory),
          filled<image::CharDeviceRecord>(kCharDevice),
          filled<image::TerminalRecord>(kTerminal),
          filled<image::PipeRecord>(kPipe),
          filled<image::PipeRecord>(kFifo),
          filled<image::UnixSocketRecord>(kUnixSocket),
          filled<image::EventfdRecord>(kEventfd),
          filled<image::TimerfdRecord>(kTimerfd),
          filled<image::SignalfdRecord>(kSignalfd),
          filled<image::EpollRecord>(kEpoll),
          filled<image::MemfdRecord>(kMemfd),
          filled<image::InotifyRecord>(kInotify),
          filled<image::SegmentRecord>(kSysvSegment),
          filled<image::MessageQueueRecord>(kSysvMessageQueue),
          filled<image::SemaphoreSetRecord>(kSysvSemaphoreSet),
          filled<image::PosixQueueRecord>(kPosixQueue),
          filled<image::MqueueRecord>(kMqueue),
          filled<image::PidfdRecord>(kPidfd),
          filled<image::PathOnlyRecord>(kPathOnly),
          filled<image::PtyRecord>(kPtyMaster),
          filled<image::PtyRecord>(kPtySlave),
          filled<image::StandardStreamRecord>(kStandardStream),
          filled<image::TcpRecord>(kTcp),
          filled<image::UdpRecord>(kUdp),
          filled<image::NetlinkRecord>(kNetlink),
          filled<image::KernelFileRecord>(kKernelFile)};
}

Result<> write_golden(const std::string& checkpoints) {
  std::unique_ptr<Writer> writer = TRY(Writer::create(checkpoints, {.compression = {}, .threads = 1}));
  for (image::Record& record : one_of_each()) TRY(writer->put(std::move(record)));
  Content content{.start = 0x10000, .bytes = Bytes(4 * kPageSize)};
  for (size_t i = 0; i < 2 * kPageSize; ++i) content.bytes[i] = static_cast<std::byte>(i / 64);
  TRY(put_content(*writer, content));
  return writer->commit();
}

std::string golden() { return STINT_SOURCE_DIR "/test/golden"; }

nlohmann::ordered_json shown(const Reader& reader) {
  Result<nlohmann::ordered_json> json = show_json(reader);
  if (!json.has_value()) return json.error().text();
  json->erase("checkpoint");  // Where it lies is not what it is.
  return *json;
}

TEST(Golden, ACheckpointOfAnEarlierBuildReadsAsItDid) {
  if (getenv("STINT_GOLDEN_WRITE") != nullptr) {
    ASSERT_TRUE(sys::remove_tree(golden() + "/1").has_value());
    ASSERT_TRUE(write_golden(golden()).has_value());
    Result<sys::UniqueFd> file = sys::open(golden() + "/1.json", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    ASSERT_TRUE(file.has_value());
    std::string text = shown(**Reader::open(golden() + "/1")).dump(1) + "\n";
    ASSERT_TRUE(sys::write_all(file->get(), bytes_of(text)).has_value());
  }
  Result<std::unique_ptr<Reader>> reader = Reader::open(golden() + "/1");
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  Result<Bytes> expected = sys::read_file(golden() + "/1.json");
  ASSERT_TRUE(expected.has_value());
  EXPECT_EQ(shown(**reader).dump(1) + "\n", text_of(*expected))
      << "The format has changed. Is it meant? Then see the head of " __FILE__;
}

TEST(Golden, ThisBuildStillWritesTheSameRecords) {
  TemporaryDirectory home;
  ASSERT_TRUE(write_golden(home.path()).has_value());
  EXPECT_EQ(*sys::read_file(home.path() + "/1/records"), *sys::read_file(golden() + "/1/records"))
      << "The format has changed. Is it meant? Then see the head of " __FILE__;
}

TEST(Golden, HasARecordOfEveryKind) {
  std::vector<image::Record> records = one_of_each();
  for (const image::RecordKind& kind : image::record_kinds()) {
    if (kind.type == image::RecordType::kEnd || kind.type == image::RecordType::kPageIndex) continue;  // The writer's.
    EXPECT_TRUE(std::any_of(records.begin(), records.end(), [&](const image::Record& r) {
      return r.type == kind.type;
    })) << kind.name;
  }
}

TEST(Show, PrintsATableOfEachSort) {
  Result<std::unique_ptr<Reader>> reader = Reader::open(golden() + "/1");
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  Result<std::string> memory = memory_table(**reader), files = files_table(**reader), fds = fds_table(**reader);
  Result<std::string> threads = threads_table(**reader);
  ASSERT_TRUE(memory.has_value() && files.has_value() && fds.has_value() && threads.has_value());
  EXPECT_NE(threads->find("GOES ON"), std::string::npos) << *threads;
  EXPECT_EQ(std::count(threads->begin(), threads->end(), '\n'), 2) << *threads;
  EXPECT_EQ(threads_json(**reader)->size(), 1u);
  EXPECT_NE(memory->find("SEGMENT"), std::string::npos);
  EXPECT_NE(memory->find("1 mappings, KiB"), std::string::npos) << *memory;
  EXPECT_NE(files->find("mapped"), std::string::npos) << *files;
  EXPECT_NE(files->find("written"), std::string::npos) << *files;
  EXPECT_NE(fds->find("KIND"), std::string::npos) << *fds;
  EXPECT_EQ(memory_json(**reader)->size(), 2u);
  EXPECT_EQ(files_json(**reader)->size(), 2u);
  EXPECT_EQ(fds_json(**reader)->size(), 1u);
}

}  // namespace
}  // namespace stint::store
