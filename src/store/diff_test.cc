#include "store/diff.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <map>

#include "image/fd_records.h"
#include "image/file_records.h"
#include "image/ipc_records.h"
#include "image/memory_records.h"
#include "image/task_records.h"
#include "store/checkpoint_dir.h"
#include "store/page_hashes.h"
#include "store/store_testing.h"

namespace stint::store {
namespace {

using image::Backing;
using image::RecordType;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr int32_t kPid = 10, kChild = 11;
constexpr uint64_t kStart = 0x10000;

// What one checkpoint is made of.
struct Made {
  std::vector<image::Record> records;
  std::map<uint64_t, std::map<uint64_t, uint64_t>> pages;  // by space and offset: the seed of the page; 0 for zeroes

  template <class R>
  void put(RecordType type, const R& record) {
    records.push_back({.type = type, .payload = image::encode(record)});
  }
  void process(int32_t pid, const std::string& exe, int32_t memory_from = 0) {
    image::ProcessRecord record;
    record.pid = pid, record.exe = exe, record.memory_from = memory_from;
    put(RecordType::kProcess, record);
  }
  void thread(int32_t pid, int32_t tid, const std::string& name) {
    image::ThreadRecord record;
    record.pid = pid, record.tid = tid, record.comm = name;
    put(RecordType::kThread, record);
  }
  static image::VmaRecord mapping(uint64_t first_page, uint64_t pages, int32_t pid = kPid) {
    image::VmaRecord record;
    record.pid = pid, record.prot = PROT_READ | PROT_WRITE;
    record.start = kStart + first_page * kPageSize, record.end = record.start + pages * kPageSize;
    return record;
  }
  void page(uint64_t number, uint64_t seed, uint64_t space = kPid) { pages[space][kStart + number * kPageSize] = seed; }
  void descriptor(int32_t fd, uint64_t description) {
    image::DescriptorRecord record;
    record.pid = kPid, record.fd = fd, record.description = description;
    put(RecordType::kDescriptor, record);
  }
  void file(uint64_t description, const std::string& path, uint64_t position) {
    image::RegularFileRecord record;
    record.description.id = description, record.path = path, record.position = position;
    put(RecordType::kRegularFile, record);
  }
  void pipe(uint64_t description, uint64_t number, std::string_view queued) {
    image::PipeRecord record;
    record.description.id = description, record.pipe = number;
    record.queued.assign(bytes_of(queued).begin(), bytes_of(queued).end());
    put(RecordType::kPipe, record);
  }
  void state(const std::string& path, uint64_t size, std::optional<Hash128> content, int64_t mtime_ns = 0) {
    image::FileStateRecord record;
    record.path = path, record.size = size, record.content = content, record.mtime_ns = mtime_ns;
    put(RecordType::kFileState, record);
  }
};

class DiffTest : public testing::Test {
 protected:
  std::string write(const Made& made) {
    Result<std::unique_ptr<Writer>> writer = Writer::create(home_.path(), {});
    EXPECT_TRUE(writer.has_value());
    for (const image::Record& record : made.records) EXPECT_TRUE((*writer)->put(record).has_value());
    for (const auto& [space, pages] : made.pages)
      for (const auto& [offset, seed] : pages) {
        std::unique_ptr<image::PageBuffer> buffer = std::move(*(*writer)->page_buffer());
        std::ranges::copy(seed == 0 ? Bytes(kPageSize) : random_bytes(kPageSize, seed), buffer->data());
        EXPECT_TRUE((*writer)->put_pages({{space, offset, kPageSize}}, std::move(buffer)).has_value());
      }
    EXPECT_TRUE((*writer)->commit().has_value());
    return (*writer)->path();
  }
  Diff diff_of(const Made& was, const Made& now) {
    std::string from = write(was), to = write(now);
    for (const std::string& path : {from, to}) {
      if (without_hashes_) EXPECT_TRUE(sys::unlink(path + "/" + kHashesFile).has_value());
    }
    Result<Diff> found = diff(**Reader::open(from), **Reader::open(to));
    EXPECT_TRUE(found.has_value()) << found.error().text();
    return found.value_or(Diff());
  }

  TemporaryDirectory home_;
  bool without_hashes_ = false;
};

// Changed, new, gone, and same: pages.
auto pages_are(uint64_t changed, uint64_t added, uint64_t gone, uint64_t same) {
  return testing::Field("pages", &MappingChange::pages,
                        testing::AllOf(testing::Field(&PageChanges::changed, changed * kPageSize),
                                       testing::Field(&PageChanges::added, added * kPageSize),
                                       testing::Field(&PageChanges::gone, gone * kPageSize),
                                       testing::Field(&PageChanges::same, same * kPageSize)));
}

auto is(Change change) { return testing::Field("change", &MappingChange::change, change); }

TEST_F(DiffTest, OfACheckpointAndItselfIsEmpty) {
  Made made;
  made.process(kPid, "/bin/sim");
  made.thread(kPid, kPid, "sim"), made.thread(kPid, 12, "worker");
  made.put(RecordType::kVma, Made::mapping(0, 4));
  for (uint64_t page = 0; page < 3; ++page) made.page(page, page);
  made.descriptor(3, 1), made.file(1, "/data", 7);
  made.state("/data", 9, Hash128{1, 2});
  Diff found = diff_of(made, made);
  EXPECT_THAT(found.processes, IsEmpty());
  EXPECT_THAT(found.threads, IsEmpty());
  EXPECT_THAT(found.mappings, IsEmpty());
  EXPECT_THAT(found.descriptors, IsEmpty());
  EXPECT_THAT(found.files, IsEmpty());
  EXPECT_EQ(found.pages.same, 3 * kPageSize);
}

TEST_F(DiffTest, CountsThePagesOfAMappingThatAreNewChangedOrGone) {
  for (bool without_hashes : {false, true}) {
    without_hashes_ = without_hashes;
    Made was, now;
    for (Made* made : {&was, &now}) made->put(RecordType::kVma, Made::mapping(0, 10));
    was.page(0, 1), was.page(1, 2), was.page(2, 0), was.page(3, 4), was.page(5, 5);
    now.page(0, 1), now.page(1, 9), now.page(2, 0), now.page(4, 4), now.page(5, 0);
    Diff found = diff_of(was, now);
    EXPECT_THAT(found.mappings, ElementsAre(testing::AllOf(is(Change::kChanged), pages_are(2, 1, 1, 2))));
  }
}

TEST_F(DiffTest, AMappingThatGrewOrWasSplitIsKnownAgain) {
  Made was, now;
  was.put(RecordType::kVma, Made::mapping(0, 4));
  was.put(RecordType::kVma, Made::mapping(20, 4));
  now.put(RecordType::kVma, Made::mapping(0, 6));
  image::VmaRecord lower = Made::mapping(20, 1);
  lower.prot = PROT_READ;
  now.put(RecordType::kVma, lower);
  now.put(RecordType::kVma, Made::mapping(21, 3));
  for (uint64_t page : {0, 3, 20, 23}) was.page(page, page + 1), now.page(page, page + 1);
  now.page(5, 7);
  std::vector<MappingChange> found = diff_of(was, now).mappings;
  ASSERT_THAT(found, ElementsAre(pages_are(0, 1, 0, 2), pages_are(0, 0, 0, 1), pages_are(0, 0, 0, 1)));
  EXPECT_THAT(found, testing::Each(is(Change::kChanged)));
  EXPECT_EQ(found[0].was.size(), 4 * kPageSize);
  EXPECT_EQ(found[0].now.size(), 6 * kPageSize);
  EXPECT_EQ(found[1].protection_was + found[1].protection_now, "rw-pr--p");
}

TEST_F(DiffTest, WhereAnotherObjectIsMappedOneIsGoneAndOneIsNew) {
  Made was, now;
  was.put(RecordType::kVma, Made::mapping(0, 4));
  image::VmaRecord library = Made::mapping(0, 2);
  library.backing = Backing::kFile, library.name = "/lib/libm.so";
  now.put(RecordType::kVma, library);
  was.page(1, 1), now.page(1, 1);
  EXPECT_THAT(diff_of(was, now).mappings, ElementsAre(testing::AllOf(is(Change::kGone), pages_are(0, 0, 1, 0)),
                                                      testing::AllOf(is(Change::kNew), pages_are(0, 1, 0, 0))));
}

TEST_F(DiffTest, WhatAShrunkMappingHadIsGoneFromIt) {
  Made was, now;
  was.put(RecordType::kVma, Made::mapping(0, 8));
  now.put(RecordType::kVma, Made::mapping(0, 2));
  was.page(1, 1), was.page(7, 2), now.page(1, 1);
  EXPECT_THAT(diff_of(was, now).mappings, ElementsAre(testing::AllOf(is(Change::kChanged), pages_are(0, 0, 1, 1))));
}

// In the first checkpoint the child has a page of its parent's, which is saved there; then it has written to it.
TEST_F(DiffTest, APageThatAChildHasFromItsParentIsItsOwn) {
  Made was, now;
  for (Made* made : {&was, &now}) {
    made->process(kPid, "/bin/sim"), made->process(kChild, "/bin/sim", kPid);
    made->put(RecordType::kVma, Made::mapping(0, 4));
    made->page(0, 1), made->page(1, 2);
  }
  image::VmaRecord childs = Made::mapping(0, 4, kChild);
  childs.inherited = {kStart, kStart + 2 * kPageSize};
  was.put(RecordType::kVma, childs);
  childs.inherited = {kStart, kStart + kPageSize};
  now.put(RecordType::kVma, childs);
  now.page(1, 3, kChild);
  EXPECT_THAT(diff_of(was, now).mappings,
              ElementsAre(testing::AllOf(testing::Field(&MappingChange::pid, kChild), pages_are(1, 0, 0, 1))));
}

// The memory has another inode number, as after a restart.
TEST_F(DiffTest, SharedMemoryIsComparedWhereItIsMapped) {
  Made was, now;
  for (auto [made, id, seed] : {std::tuple(&was, uint64_t{77}, uint64_t{1}), {&now, 78, 2}}) {
    image::VmaRecord shared = Made::mapping(0, 2);
    shared.shared = true, shared.backing = Backing::kSharedMemory, shared.object = id, shared.offset = kPageSize;
    shared.name = "/dev/zero (deleted) " + std::to_string(id);
    made->put(RecordType::kVma, shared);
    uint64_t space = image::kObjectSpace | id;
    made->pages[space] = {{0, 5 + seed}, {kPageSize, 9}, {2 * kPageSize, seed}};
  }
  EXPECT_THAT(diff_of(was, now).mappings, ElementsAre(testing::AllOf(is(Change::kChanged), pages_are(1, 0, 0, 1))));
}

TEST_F(DiffTest, AWrittenPageOfAPrivateMappingOfAMemfdIsThePrivateOne) {
  Made was, now;
  for (Made* made : {&was, &now}) {
    image::VmaRecord mapped = Made::mapping(0, 2);
    mapped.backing = Backing::kSharedMemory, mapped.object = 77;
    made->put(RecordType::kVma, mapped);
    made->pages[image::kObjectSpace | 77] = {{0, 5}, {kPageSize, 6}};
  }
  now.page(1, 9);
  EXPECT_THAT(diff_of(was, now).mappings, ElementsAre(testing::AllOf(is(Change::kChanged), pages_are(1, 0, 0, 1))));
}

TEST_F(DiffTest, ProcessesAndThreadsComeAndGoAndBecomeOthers) {
  Made was, now;
  was.process(1, "/bin/sh"), was.process(2, "/bin/old"), was.process(3, "/bin/ends"), was.process(4, "/bin/stays");
  now.process(1, "/bin/perl"), now.process(4, "/bin/stays"), now.process(5, "/bin/new");
  image::ZombieRecord zombie;
  zombie.pid = 3;
  now.put(RecordType::kZombie, zombie);
  was.thread(4, 4, "stays"), was.thread(4, 6, "goes");
  now.thread(4, 4, "stays"), now.thread(4, 7, "comes");
  Diff found = diff_of(was, now);
  std::vector<std::string> lines;
  for (const ProcessChange& process : found.processes)
    lines.push_back(std::string(name_of(process.change)) + " " + std::to_string(process.pid) + " " + process.was + " " +
                    process.now);
  for (const ThreadChange& thread : found.threads)
    lines.push_back(std::string(name_of(thread.change)) + " thread " + std::to_string(thread.tid) + " " + thread.name);
  EXPECT_THAT(lines, ElementsAre("changed 1 /bin/sh /bin/perl", "gone 2 /bin/old ", "changed 3 /bin/ends zombie",
                                 "new 5  /bin/new", "gone thread 6 goes", "new thread 7 comes"));
}

TEST_F(DiffTest, DescriptorsAreOpenedClosedMovedAndChanged) {
  Made was, now;
  was.file(1, "/stays", 5), was.file(2, "/moves", 100), was.file(3, "/closes", 0), was.pipe(4, 900, "full");
  now.file(5, "/stays", 5), now.file(6, "/moves", 300), now.file(7, "/opens", 0), now.pipe(8, 901, "fool");
  was.descriptor(3, 1), was.descriptor(4, 2), was.descriptor(5, 3), was.descriptor(7, 4);
  now.descriptor(3, 5), now.descriptor(4, 6), now.descriptor(6, 7), now.descriptor(7, 8);
  std::vector<DescriptorChange> found = diff_of(was, now).descriptors;
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].fd, 4);
  EXPECT_EQ(found[0].position_was, 100u);
  EXPECT_EQ(found[0].position_now, 300u);
  EXPECT_THAT(found[0].fields, IsEmpty());
  EXPECT_EQ(found[1].change, Change::kGone);
  EXPECT_EQ(found[1].what, "path=/closes");
  EXPECT_EQ(found[2].change, Change::kNew);
  EXPECT_EQ(found[3].kind, "pipe");
  EXPECT_THAT(found[3].fields, ElementsAre("queued"));
}

TEST_F(DiffTest, FilesAreToldApartByContentAndWhereItIsNotKnownByTime) {
  Made was, now;
  was.state("/same", 5, Hash128{1, 1}, 10), now.state("/same", 5, Hash128{1, 1}, 20);
  was.state("/written", 5, Hash128{1, 1}), now.state("/written", 5, Hash128{2, 2});
  was.state("/large", 5, {}, 10), now.state("/large", 5, {}, 20);
  was.state("/closed", 5, Hash128{3, 3}), now.state("/opened", 6, Hash128{3, 3});
  std::vector<std::string> lines;
  for (const FileChange& file : diff_of(was, now).files)
    lines.push_back(std::string(name_of(file.change)) + " " + file.path);
  EXPECT_THAT(lines, ElementsAre("gone /closed", "changed /large", "new /opened", "changed /written"));
}

TEST_F(DiffTest, MemfdsAndObjectsOfSystemVAreComparedByWhatTheyHold) {
  Made was, now;
  for (auto [made, id, seed] : {std::tuple(&was, uint64_t{77}, uint64_t{1}), {&now, 78, 2}}) {
    image::SharedMemoryRecord memory;
    memory.id = id, memory.name = "scratch", memory.memfd = true, memory.size = kPageSize;
    made->put(RecordType::kSharedMemory, memory);
    image::MemfdRecord memfd;
    memfd.description.id = id, memfd.shared_memory = id;
    made->put(RecordType::kMemfd, memfd);
    made->descriptor(5, id);
    made->pages[image::kObjectSpace | id] = {{0, seed}};
    for (int32_t number : {3, 4}) {
      image::SegmentRecord segment;
      segment.owner.id = number, segment.size = kPageSize;
      made->put(RecordType::kSysvSegment, segment);
      made->pages[image::kObjectSpace | image::kSysvSegment | static_cast<uint64_t>(number)] = {
          {0, number == 3 ? seed : 8}};
    }
  }
  std::vector<std::string> lines;
  Diff found = diff_of(was, now);
  for (const ObjectChange& object : found.objects) lines.push_back(object.name);
  EXPECT_THAT(lines, ElementsAre("memfd scratch (pid 10, descriptor 5)", "sysv_segment 3"));
  EXPECT_THAT(found.descriptors, IsEmpty());
}

TEST_F(DiffTest, IsSaidInJson) {
  Made was, now;
  was.process(kPid, "/bin/sim"), now.process(kPid, "/bin/sim");
  for (Made* made : {&was, &now}) made->put(RecordType::kVma, Made::mapping(0, 10));
  was.page(0, 1), now.page(0, 2);
  nlohmann::ordered_json json = to_json(diff_of(was, now));
  ASSERT_EQ(json["mappings"].size(), 1u);
  EXPECT_EQ(json["mappings"][0]["change"], "changed");
  EXPECT_EQ(json["mappings"][0]["changed_bytes"], kPageSize);
  EXPECT_EQ(json["mappings"][0]["was"]["protection"], "rw-p");
  EXPECT_EQ(json["changed_bytes"], kPageSize);
  EXPECT_EQ(json["processes"].size(), 0u);
}

// As if it had been written by one who keeps no hashes: the pages are read, in a block of which not all is wanted, too.
TEST_F(DiffTest, PagesOfABlockWithoutHashesAreRead) {
  Content content = mixed_content();
  std::string path = write_checkpoint(home_.path(), content, {});
  Result<SavedPages> known = saved_pages(**Reader::open(path));
  ASSERT_TRUE(sys::unlink(path + "/" + kHashesFile).has_value());
  Result<SavedPages> read = saved_pages(**Reader::open(path));
  ASSERT_TRUE(known.has_value() && read.has_value());
  EXPECT_EQ(known->at(7).size(), (content.bytes.size() + kPageSize - 1) / kPageSize);
  EXPECT_EQ(*known, *read);
}

}  // namespace
}  // namespace stint::store
