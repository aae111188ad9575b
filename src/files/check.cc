#include "files/check.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "files/content.h"
#include "files/writers.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {
namespace {

std::string directory_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

bool same_inode(const struct stat& now, uint64_t device, uint64_t inode) {
  return now.st_dev == device && now.st_ino == inode;
}

bool same_times(const struct stat& now, uint64_t size, int64_t mtime_ns, int64_t ctime_ns) {
  return static_cast<uint64_t>(now.st_size) == size && sys::mtime_ns(now) == mtime_ns && sys::ctime_ns(now) == ctime_ns;
}

// Adds up what will be written where, and holds it against the free space.
class SpaceNeeded {
 public:
  Result<> add(std::string directory, uint64_t bytes) {
    if (bytes == 0) return {};
    Result<sys::FileSystemSpace> space = sys::space_at(directory);
    while (!space.has_value() && directory != "/") {  // A directory that will be made: what it will be made in.
      directory = directory_of(directory);
      space = sys::space_at(directory);
    }
    sys::FileSystemSpace found = TRY(std::move(space));
    uint64_t& needed = needed_[found.device];
    needed += bytes;
    if (needed <= found.free) return {};
    return unfit(fmt::format("{}: {} bytes are needed there to put the job's files back, and {} are free: make room",
                             directory, needed, found.free));
  }

 private:
  std::map<uint64_t, uint64_t> needed_;  // by device
};

// One look at the file states of a checkpoint.
class Checker {
 public:
  Checker(const image::Source& source, HashCache& cache, const CheckOptions& options)
      : source_(source), cache_(cache), options_(options) {}

  Result<> check_file(const image::FileStateRecord& record);
  Result<> check_mapped(const image::MappedFileRecord& record);
  Result<FilePlan> finish();

 private:
  Result<> check_present(const image::FileStateRecord& record, int fd, const struct stat& now);
  Result<bool> unchanged(const image::FileStateRecord& record, int fd, const struct stat& now);
  Result<bool> only_grown(const image::FileStateRecord& record, int fd, const struct stat& now);
  Result<> own_work(int fd, const struct stat& now, const std::string& remedy);
  Result<> add_space(const FileChange& change);
  Result<std::string> mapped_difference(const image::MappedFileRecord& record);

  const image::Source& source_;
  HashCache& cache_;
  const CheckOptions& options_;
  FilePlan plan_;
  SpaceNeeded space_;
};

Result<> Checker::check_file(const image::FileStateRecord& record) {
  if (record.unlinked) return space_.add(directory_of(record.path), stored_size(source_, record.content_space));
  Result<sys::UniqueFd> file = sys::open(record.path, O_PATH | O_NOFOLLOW);
  if (file.has_value()) {
    struct stat now = TRY(sys::fstat(file->get()));
    if (!S_ISREG(now.st_mode)) return unfit("it was a regular file at the checkpoint, and is none now: put it back");
    if (record.made_up) return {};
    return check_present(record, file->get(), now);
  }
  if (file.error().os_errno() != ENOENT) return std::move(file).error().as(ErrorKind::kUnfit);
  if (record.content_space == 0)
    return unfit("it is gone since the checkpoint, and its content was not saved: put it back");
  if (!sys::stat(directory_of(record.path)).has_value())
    return unfit(fmt::format("its directory is gone: make it (mkdir -p '{}'); the file itself will be put back",
                             directory_of(record.path)));
  plan_.changes.push_back({.act = Act::kRecreate, .record = record, .now = {}});
  return {};
}

// Same size, and nothing tells that the content is another.
Result<bool> Checker::unchanged(const image::FileStateRecord& record, int fd, const struct stat& now) {
  if (static_cast<uint64_t>(now.st_size) != record.size) return false;
  bool same_stat =
      same_inode(now, record.device, record.inode) && same_times(now, record.size, record.mtime_ns, record.ctime_ns);
  if (same_stat && record.times_tell && !record.mapped_shared) return true;
  if (!record.content.has_value()) return same_stat;
  if (record.mapped_shared) {  // The cache believes in times.
    sys::UniqueFd readable = TRY(sys::reopen(fd, O_RDONLY));
    return TRY(hash_content(readable.get(), record.size)) == *record.content;
  }
  return TRY(know_file(fd, cache_).as(ErrorKind::kUnfit)).content == *record.content;
}

Result<bool> Checker::only_grown(const image::FileStateRecord& record, int fd, const struct stat& now) {
  if (static_cast<uint64_t>(now.st_size) <= record.size || !record.content.has_value()) return false;
  if (!same_inode(now, record.device, record.inode)) return false;
  sys::UniqueFd readable = TRY(sys::reopen(fd, O_RDONLY));
  return TRY(hash_content(readable.get(), record.size)) == *record.content;
}

// Fails unless what was changed since the checkpoint can be told to be the job's own work.
Result<> Checker::own_work(int fd, const struct stat& now, const std::string& remedy) {
  if (options_.after.stopped)
    return unfit("it was changed since, and not by the job, which was stopped in the checkpoint: " + remedy);
  if (options_.after.ended_ns.has_value() && sys::mtime_ns(now) > *options_.after.ended_ns)
    return unfit("it was changed after the job had ended, so not by the job alone: " + remedy);
  if (std::optional<std::string> writer = TRY(find_writer(fd)))
    return unfit(
        fmt::format("it was changed since, and {} has it open for writing, so the change may not be the job's own: "
                    "end that program, or {}",
                    *writer, remedy));
  return {};
}

Result<> Checker::check_present(const image::FileStateRecord& record, int fd, const struct stat& now) {
  if (TRY(unchanged(record, fd, now))) return {};
  if (!record.written) {
    if (!record.content.has_value())
      return unfit(
          "its size or times differ from those at the checkpoint; it was only read, and was too large to be held "
          "by its content: put the same file back, with its times (cp -p is not enough: ctime cannot be set)");
    return unfit("its content differs from that at the checkpoint: put the same file back");
  }
  std::string move_away =
      fmt::format("move it away ({})", record.content_space != 0 ? "it will be made anew" : "and put back the old one");
  if (TRY(only_grown(record, fd, now))) {
    uint64_t growth = static_cast<uint64_t>(now.st_size) - record.size;
    if (options_.after.stopped && record.append_only) {
      plan_.remarks.push_back(
          fmt::format("{}: {} bytes were appended after the job was stopped; the job only appends, so they are left",
                      record.path, growth));
      return {};
    }
    TRY(own_work(fd, now,
                 fmt::format("cut it yourself (truncate -s {} '{}') or {}", record.size, record.path, move_away)));
    plan_.changes.push_back({.act = Act::kCut, .record = record, .now = now});
    return {};
  }
  if (record.content_space == 0)
    return unfit(
        fmt::format("it was overwritten, truncated or replaced since the checkpoint; it was larger than what is "
                    "saved, so only a file that has its first {} bytes unchanged can be put back",
                    record.size));
  TRY(own_work(fd, now, move_away));
  Act act = same_inode(now, record.device, record.inode) ? Act::kPutBack : Act::kReplace;
  plan_.changes.push_back({.act = act, .record = record, .now = now});
  return {};
}

// Empty when the file under the name serves; else what is wrong with it.
Result<std::string> Checker::mapped_difference(const image::MappedFileRecord& record) {
  Result<sys::UniqueFd> file = sys::open(record.path, O_PATH);
  if (!file.has_value()) return file.error().text();
  struct stat now = TRY(sys::fstat(file->get()));
  MappedChoice choice{.path = record.path, .from_checkpoint = false, .stat = now};
  if (record.device_node) {
    if (!S_ISCHR(now.st_mode)) return std::string("it is no character device any more");
  } else if (!S_ISREG(now.st_mode)) {
    return std::string("it is no regular file any more");
  } else if (record.must_match && !(record.times_tell && same_inode(now, record.device, record.inode) &&
                                    same_times(now, record.size, record.mtime_ns, record.ctime_ns))) {
    Result<KnownFile> known = know_file(file->get(), cache_);
    if (!known.has_value()) return known.error().text();
    if (known->content != record.content) {
      if (record.build_id == known->build_id)
        return fmt::format("its content differs (build-id {} both times)",
                           record.build_id.empty() ? "none" : record.build_id);
      return fmt::format("its build-id is {}, and was {}", known->build_id.empty() ? "none" : known->build_id,
                         record.build_id.empty() ? "none" : record.build_id);
    }
  }
  plan_.mapped[record.id] = std::move(choice);
  return std::string();
}

Result<> Checker::check_mapped(const image::MappedFileRecord& record) {
  if (record.file_state != 0) return {};  // check_file() has looked at it.
  std::string difference;
  if (!record.unlinked) {
    difference = TRY(mapped_difference(record));
    if (difference.empty()) return {};
  }
  if (record.content_space == 0)
    return unfit(
        fmt::format("the job maps this file, and it is not what it was at the checkpoint: {}; install the same "
                    "version, or take checkpoints with --bundle",
                    difference));
  MappedChoice choice{.path = {}, .from_checkpoint = true, .stat = {}};
  std::string directory = directory_of(record.path);
  if (!record.unlinked) {
    directory = options_.bundle_directory;
    choice.path = fmt::format("{}/{}", directory, record.content.hex());
    plan_.remarks.push_back(fmt::format("{}: {}; the bundled copy is used, and /proc/PID/maps shows it as {}",
                                        record.path, difference, choice.path));
  }
  plan_.mapped[record.id] = std::move(choice);
  return space_.add(directory, stored_size(source_, record.content_space));
}

Result<> Checker::add_space(const FileChange& change) {
  const image::FileStateRecord& record = change.record;
  uint64_t now = static_cast<uint64_t>(change.now.st_size);
  uint64_t stored = record.content_space == 0 ? 0 : stored_size(source_, record.content_space);
  if (change.act == Act::kCut) return space_.add(options_.kept_directory, now - record.size);
  if (change.act != Act::kRecreate) TRY(space_.add(options_.kept_directory, now));
  return space_.add(directory_of(record.path), stored);
}

Result<FilePlan> Checker::finish() {
  for (const FileChange& change : plan_.changes) TRY(add_space(change));
  return std::move(plan_);
}

}  // namespace

Result<FilePlan> check_files(const image::Source& source, HashCache& cache, const CheckOptions& options) {
  Checker checker(source, cache, options);
  for (const image::FileStateRecord& record :
       TRY(records_of<image::FileStateRecord>(source, image::RecordType::kFileState)))
    TRY(checker.check_file(record).in(record.path));
  for (const image::MappedFileRecord& record :
       TRY(records_of<image::MappedFileRecord>(source, image::RecordType::kMappedFile)))
    TRY(checker.check_mapped(record).in(record.path));
  return checker.finish();
}

}  // namespace stint::files
