#include "ipc/objects.h"

#include <fmt/format.h>

#include <cstring>

#include "ipc/posix_queues.h"
#include "sys/process.h"
#include "sys/sysv.h"

namespace stint::ipc {
namespace {

using image::IpcOwner;
using image::MessageQueueRecord;
using image::RecordType;
using image::SegmentRecord;
using image::SemaphoreSetRecord;

constexpr unsigned kPermissions = 0777;

IpcOwner owner_of(int id, const ipc_perm& permissions) {
  IpcOwner owner;
  owner.id = id, owner.key = permissions.__key;
  owner.uid = permissions.uid, owner.gid = permissions.gid;
  owner.creator_uid = permissions.cuid, owner.creator_gid = permissions.cgid;
  owner.mode = permissions.mode & kPermissions;
  return owner;
}

SegmentRecord record_of(const sys::Segment& segment) {
  SegmentRecord record;
  record.owner = owner_of(segment.id, segment.status.shm_perm);
  record.size = segment.status.shm_segsz;
  record.removed = (segment.status.shm_perm.mode & SHM_DEST) != 0;
  record.locked = (segment.status.shm_perm.mode & SHM_LOCKED) != 0;
  return record;
}

Result<MessageQueueRecord> record_of(const sys::MessageQueue& queue) {
  MessageQueueRecord record;
  record.owner = owner_of(queue.id, queue.status.msg_perm);
  record.most_bytes = queue.status.msg_qbytes;
  for (unsigned place = 0; place < queue.status.msg_qnum; ++place) {
    // No message is larger than all of them together.
    std::optional<sys::WaitingMessage> message = TRY(sys::copy_message(queue.id, place, queue.status.__msg_cbytes));
    if (!message) return failed("messages went while they were copied");
    record.messages.push_back({message->type, std::move(message->text)});
  }
  return record;
}

// Objects are made as their creator, which shows in them for good.
class AsCreator {
 public:
  static Result<AsCreator> become(const IpcOwner& owner) {
    AsCreator creator(sys::effective_user(), sys::effective_group());
    if (owner.creator_gid != creator.gid_) TRY(sys::set_effective_group(owner.creator_gid));
    if (owner.creator_uid != creator.uid_) TRY(sys::set_effective_user(owner.creator_uid));
    creator.changed_ = owner.creator_uid != creator.uid_ || owner.creator_gid != creator.gid_;
    return creator;
  }
  Result<> become_ourselves() {
    if (!changed_) return {};
    TRY(sys::set_effective_user(uid_));
    return sys::set_effective_group(gid_);
  }

 private:
  AsCreator(uid_t uid, gid_t gid) : uid_(uid), gid_(gid) {}
  uid_t uid_;
  gid_t gid_;
  bool changed_ = false;
};

// `make` makes it; the kernel gives another id than the one that was chosen only when that one is taken.
template <class Make>
Result<> make_with_id(sys::IpcKind kind, const IpcOwner& owner, Make make) {
  TRY(sys::choose_next_id(kind, owner.id));
  AsCreator creator = TRY(AsCreator::become(owner));
  Result<int> id = make();
  TRY(creator.become_ourselves());
  if (!id.has_value()) return std::move(id).error();
  return *id == owner.id ? Result<>() : unfit(fmt::format("the id {} is taken", owner.id));
}

std::string title(const char* what, const IpcOwner& owner) {
  return fmt::format("System V {} {} (key {:#x})", what, owner.id, static_cast<uint32_t>(owner.key));
}

Result<> fill(void* at, const SegmentRecord& segment, const image::Source& source) {
  Bytes bytes(image::kPageBufferSize);
  uint64_t space = image::kObjectSpace | image::kSysvSegment | static_cast<uint64_t>(segment.owner.id);
  for (const image::Source::Block& block : source.blocks(space)) {
    if (block.all_zero) continue;
    TRY(source.read(block, bytes.data()));
    const std::byte* from = bytes.data();
    for (const image::PageRun& run : block.runs) {
      if (run.offset > page_up(segment.size) || run.size > page_up(segment.size) - run.offset)
        return damaged("a page lies outside of its segment");
      std::memcpy(static_cast<std::byte*>(at) + run.offset, from, run.size);
      from += run.size;
    }
  }
  return {};
}

Result<> make(const SegmentRecord& segment, const image::Source& source) {
  const IpcOwner& owner = segment.owner;
  TRY(make_with_id(sys::IpcKind::kSegment, owner,
                   [&] { return sys::make_segment(owner.key, segment.size, owner.mode | 0600); }));
  void* at = TRY(sys::attach_segment(owner.id, false));
  Result<> filled = fill(at, segment, source);
  TRY(sys::detach_segment(at));
  TRY(std::move(filled));
  if (segment.locked) TRY(sys::lock_segment(owner.id));
  return sys::set_segment_owner(owner.id, owner.uid, owner.gid, owner.mode);
}

Result<> make(const MessageQueueRecord& queue) {
  const IpcOwner& owner = queue.owner;
  TRY(make_with_id(sys::IpcKind::kMessageQueue, owner,
                   [&] { return sys::make_message_queue(owner.key, owner.mode | 0600); }));
  TRY(sys::set_message_queue(owner.id, owner.uid, owner.gid, 0600, queue.most_bytes));
  for (const image::SysvMessage& message : queue.messages)
    TRY(sys::send_to_queue(owner.id, message.type, message.text));
  return sys::set_message_queue(owner.id, owner.uid, owner.gid, owner.mode, queue.most_bytes);
}

Result<> make(const SemaphoreSetRecord& set) {
  const IpcOwner& owner = set.owner;
  TRY(make_with_id(sys::IpcKind::kSemaphoreSet, owner,
                   [&] { return sys::make_semaphore_set(owner.key, set.values.size(), owner.mode | 0600); }));
  std::vector<uint16_t> values = set.values;
  TRY(sys::set_semaphore_values(owner.id, values));
  return sys::set_semaphore_owner(owner.id, owner.uid, owner.gid, owner.mode);
}

}  // namespace

Result<Objects> look_at_objects(int queue_directory) {
  Objects objects;
  for (const sys::Segment& segment : TRY(sys::list_segments())) objects.segments.push_back(record_of(segment));
  for (const sys::MessageQueue& queue : TRY(sys::list_message_queues())) {
    MessageQueueRecord record = TRY(record_of(queue).in(fmt::format("System V message queue {}", queue.id)));
    objects.queues.push_back(std::move(record));
  }
  for (const sys::SemaphoreSet& set : TRY(sys::list_semaphore_sets())) {
    SemaphoreSetRecord record;
    record.owner = owner_of(set.id, set.status.sem_perm);
    record.values = TRY(sys::semaphore_values(set.id, set.status.sem_nsems));
    objects.sets.push_back(std::move(record));
  }
  objects.posix_queues = TRY(look_at_posix_queues(queue_directory));
  return objects;
}

Result<Objects> read_objects(const image::Source& source) {
  Objects objects;
  for (const image::Record& record : source.records()) {
    if (record.type == RecordType::kSysvSegment)
      objects.segments.push_back(TRY(image::decode<SegmentRecord>(record.payload)));
    if (record.type == RecordType::kSysvMessageQueue)
      objects.queues.push_back(TRY(image::decode<MessageQueueRecord>(record.payload)));
    if (record.type == RecordType::kSysvSemaphoreSet)
      objects.sets.push_back(TRY(image::decode<SemaphoreSetRecord>(record.payload)));
    if (record.type == RecordType::kPosixQueue)
      objects.posix_queues.push_back(TRY(image::decode<image::PosixQueueRecord>(record.payload)));
  }
  return objects;
}

Result<> make_objects(const Objects& objects, const image::Source& source) {
  for (const SegmentRecord& segment : objects.segments)
    TRY(make(segment, source).in(title("shared memory", segment.owner)));
  for (const MessageQueueRecord& queue : objects.queues) TRY(make(queue).in(title("message queue", queue.owner)));
  for (const SemaphoreSetRecord& set : objects.sets) TRY(make(set).in(title("semaphores", set.owner)));
  for (const image::PosixQueueRecord& queue : objects.posix_queues)
    TRY(make_posix_queue(queue).in("POSIX message queue " + queue.name));
  return {};
}

}  // namespace stint::ipc
