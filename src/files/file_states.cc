#include "files/file_states.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "files/content.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {
namespace {

bool same_times(const struct stat& one, const struct stat& other) {
  return one.st_size == other.st_size && sys::mtime_ns(one) == sys::mtime_ns(other) &&
         sys::ctime_ns(one) == sys::ctime_ns(other);
}

// True if `path` leads to this inode. The link of a descriptor may name a file that was renamed over, or that is hidden
// by a mount.
bool leads_to(const std::string& path, const struct stat& stat) {
  Result<struct stat> there = sys::lstat(path);
  return there.has_value() && there->st_dev == stat.st_dev && there->st_ino == stat.st_ino;
}

}  // namespace

void FileStates::look_ahead(int fd) {
  Result<struct stat> stat = sys::fstat(fd);
  if (!stat.has_value() || !S_ISREG(stat->st_mode)) return;
  if (static_cast<uint64_t>(stat->st_size) <= options_.saved_up_to) return;
  // It only fills the cache: whatever goes wrong here is met again in the stop, and reported there.
  Result<KnownFile> known = know_file(fd, cache_);
  static_cast<void>(known);
}

FileStates::Entry* FileStates::find(const struct stat& stat) {
  std::map<std::pair<uint64_t, uint64_t>, size_t>::iterator found = by_inode_.find({stat.st_dev, stat.st_ino});
  return found == by_inode_.end() ? nullptr : &entries_[found->second];
}

Result<uint64_t> FileStates::note(int fd, const struct stat& stat, std::string_view path, bool unlinked, bool written) {
  CHECK(S_ISREG(stat.st_mode));
  Entry* entry = find(stat);
  if (entry == nullptr) {
    by_inode_[{stat.st_dev, stat.st_ino}] = entries_.size();
    entry = &entries_.emplace_back();
    entry->record.id = entries_.size();
    entry->record.append_only = true;
    entry->record.path = path;
    entry->record.unlinked = unlinked;
    // By way of O_PATH: needs no permission, and shares neither position nor locks with the job.
    entry->fd = TRY(sys::reopen(fd, O_PATH).in(path));
    entry->record.made_up = TRY(sys::content_is_made_up(entry->fd.get()).in(path));
  } else if (entry->record.unlinked && !unlinked) {  // One of its names is left.
    entry->record.path = path;
    entry->record.unlinked = false;
  }
  if (written) {
    entry->record.written = true;
    if ((TRY(sys::status_flags(fd)) & O_APPEND) == 0) entry->record.append_only = false;
  }
  return entry->record.id;
}

Result<uint64_t> FileStates::note_shared_mapping(int fd, const struct stat& stat, std::string_view path,
                                                 bool unlinked) {
  uint64_t id = TRY(note(fd, stat, path, unlinked, false));
  image::FileStateRecord& record = entries_[id - 1].record;
  record.written = record.mapped_shared = true;
  record.append_only = false;
  return id;
}

Result<> FileStates::settle(image::Sink& sink) {
  for (Entry& entry : entries_) TRY(settle(entry, sink).in(entry.record.path));
  return {};
}

Result<> FileStates::settle(Entry& entry, image::Sink& sink) {
  image::FileStateRecord& record = entry.record;
  int64_t now_ns = sys::realtime_ns();
  entry.stat = TRY(sys::fstat(entry.fd.get()));
  record.device = entry.stat.st_dev;
  record.inode = entry.stat.st_ino;
  record.size = static_cast<uint64_t>(entry.stat.st_size);
  record.mode = entry.stat.st_mode;
  record.links = entry.stat.st_nlink;
  record.uid = entry.stat.st_uid;
  record.gid = entry.stat.st_gid;
  record.mtime_ns = sys::mtime_ns(entry.stat);
  record.ctime_ns = sys::ctime_ns(entry.stat);
  record.times_tell = times_tell(entry.stat, now_ns);
  record.append_only = record.append_only && record.written;
  if (record.made_up) return {};
  if (!record.unlinked && !leads_to(record.path, entry.stat)) record.unlinked = true;
  if (!record.written && !record.unlinked) return {};
  return settle_content(entry, sink);
}

Result<> FileStates::settle_content(Entry& entry, image::Sink& sink) {
  image::FileStateRecord& record = entry.record;
  entry.settled = true;
  bool saved = record.unlinked || record.size <= options_.saved_up_to;
  if (!saved && !record.mapped_shared) {
    if (std::optional<KnownFile> known = cache_.find(entry.stat)) {
      record.content = known->content;
      return {};
    }
  }
  Result<sys::UniqueFd> file = sys::reopen(entry.fd.get(), O_RDONLY);
  if (!file.has_value()) {
    if (record.unlinked)
      return refused("it has no name any more, and its content cannot be read: " + file.error().text());
    return {};  // Opened for writing only, and not readable: held by its times, and any change is refused.
  }
  if (saved) {
    record.content_space = kFileStateSpace | record.id;
    record.content = TRY(save_content(file->get(), record.size, record.content_space, sink));
  } else {
    record.content = TRY(hash_content(file->get(), record.size));
    if (record.times_tell && !record.mapped_shared)
      cache_.remember(entry.stat, {.content = *record.content, .build_id = {}});
  }
  return {};
}

Result<> FileStates::save(image::Sink& sink) {
  for (Entry& entry : entries_) {
    image::FileStateRecord& record = entry.record;
    bool worth_hashing = record.size <= options_.hashed_up_to || !record.times_tell;
    if (!entry.settled && !record.made_up && worth_hashing) {
      // The hash is that of the checkpoint only if nobody has changed the file since.
      Result<KnownFile> known = know_file(entry.fd.get(), cache_);
      Result<struct stat> after = sys::fstat(entry.fd.get());
      if (known.has_value() && after.has_value() && same_times(entry.stat, *after)) record.content = known->content;
    }
    TRY(sink.put({.type = image::RecordType::kFileState, .payload = image::encode(record)}).in(record.path));
  }
  return {};
}

uint64_t FileStates::changing_file(uint64_t device, uint64_t inode) const {
  std::map<std::pair<uint64_t, uint64_t>, size_t>::const_iterator found = by_inode_.find({device, inode});
  if (found == by_inode_.end()) return 0;
  const image::FileStateRecord& record = entries_[found->second].record;
  return record.written || record.unlinked ? record.id : 0;
}

std::vector<int> FileStates::descriptors_of(uint64_t inode) const {
  std::vector<int> found;
  for (const auto& [device_and_inode, index] : by_inode_)
    if (device_and_inode.second == inode) found.push_back(entries_[index].fd.get());
  return found;
}

}  // namespace stint::files
