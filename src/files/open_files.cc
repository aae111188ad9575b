#include "files/open_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "files/content.h"
#include "files/open_as_owner.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {
namespace {

// What F_GETFL shows and open(2) takes without doing something to the file.
constexpr int kOpenFlags =
    O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_NOATIME | O_PATH | O_ASYNC | O_NOFOLLOW;

// O_TMPFILE: the kernel shows "#" and the inode's number. linkat(2) may still give it a name, as it may not to a file
// that was unlinked.
bool never_had_a_name(std::string_view path) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  return name.size() > 1 && name[0] == '#' && name.find_first_not_of("0123456789", 1) == name.npos;
}

}  // namespace

Result<OpenFiles> OpenFiles::make(const image::Source& source, FilePlan plan, CheckOptions options) {
  OpenFiles files(source, std::move(plan), std::move(options));
  for (image::FileStateRecord& record : TRY(records_of<image::FileStateRecord>(source, image::RecordType::kFileState)))
    files.states_[record.id] = std::move(record);
  for (image::MappedFileRecord& record :
       TRY(records_of<image::MappedFileRecord>(source, image::RecordType::kMappedFile)))
    files.mapped_[record.id] = std::move(record);
  return files;
}

Result<sys::UniqueFd> OpenFiles::open_file(uint64_t file_state, int flags) {
  std::map<uint64_t, image::FileStateRecord>::const_iterator found = states_.find(file_state);
  if (found == states_.end()) return damaged(fmt::format("there is no file state record {}", file_state));
  const image::FileStateRecord& record = found->second;
  flags &= kOpenFlags;
  if (record.unlinked) {
    std::string path = TRY(nameless(record.content_space, {.path = record.path,
                                                           .size = record.size,
                                                           .space = record.content_space,
                                                           .mode = record.mode & 07777,
                                                           .mtime_ns = record.mtime_ns})
                               .in(record.path));
    // The way there is a link of /proc. O_NOFOLLOW spoke of the old name, and is the one flag that does not come back.
    return open_as_owner(path, flags & ~O_NOFOLLOW).in(record.path);
  }
  sys::UniqueFd file = TRY(open_as_owner(record.path, flags));
  struct stat now = TRY(sys::fstat(file.get()));
  if (!S_ISREG(now.st_mode) || static_cast<uint64_t>(now.st_size) < record.size)
    return unfit(fmt::format("{}: it was changed while the job was being restarted", record.path));
  return file;
}

Result<sys::UniqueFd> OpenFiles::open_mapped_file(uint64_t mapped_file, bool writable) {
  std::map<uint64_t, image::MappedFileRecord>::const_iterator found = mapped_.find(mapped_file);
  if (found == mapped_.end()) return damaged(fmt::format("there is no mapped file record {}", mapped_file));
  const image::MappedFileRecord& record = found->second;
  int flags = writable ? O_RDWR : O_RDONLY;
  if (record.file_state != 0) return open_file(record.file_state, flags);
  const MappedChoice& choice = plan_.mapped[mapped_file];
  if (choice.from_checkpoint && choice.path.empty()) {
    std::string path = TRY(nameless(record.content_space, {.path = record.path,
                                                           .size = record.size,
                                                           .space = record.content_space,
                                                           .mode = 0700,  // The kernel wants /proc/PID/exe executable.
                                                           .mtime_ns = record.mtime_ns})
                               .in(record.path));
    return open_as_owner(path, flags).in(record.path);
  }
  if (choice.from_checkpoint) {
    TRY(lay_out_bundled(record, choice.path).in(choice.path));
    return sys::open(choice.path, flags);
  }
  sys::UniqueFd file = TRY(open_as_owner(choice.path, flags));
  struct stat now = TRY(sys::fstat(file.get()));
  if (now.st_dev != choice.stat.st_dev || now.st_ino != choice.stat.st_ino || now.st_size != choice.stat.st_size ||
      sys::mtime_ns(now) != sys::mtime_ns(choice.stat))
    return unfit(fmt::format("{}: it was changed while the job was being restarted", choice.path));
  return file;
}

Result<sys::UniqueFd> OpenFiles::create_nameless(const std::string& path) {
  if (never_had_a_name(path)) {
    Result<sys::UniqueFd> linkable = sys::open_nameless(path.substr(0, path.rfind('/') + 1), O_RDWR, 0600);
    if (linkable.has_value()) return linkable;
  }
  Result<sys::UniqueFd> named = sys::open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (named.has_value()) {
    TRY(sys::unlink(path));
    return named;
  }
  Result<sys::UniqueFd> beside = sys::open_nameless(path.substr(0, path.rfind('/') + 1), O_RDWR, 0600);
  if (beside.has_value()) return beside;
  std::string elsewhere = fmt::format("{}/nameless-{}", options_.state_directory, ::getpid());
  Result<sys::UniqueFd> made = sys::open(elsewhere, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (made.has_value()) TRY(sys::unlink(elsewhere));
  return made;
}

Result<std::string> OpenFiles::nameless(uint64_t space, const Nameless& file) {
  std::map<uint64_t, sys::UniqueFd>::iterator found = nameless_.find(space);
  if (found == nameless_.end()) {
    sys::UniqueFd made = TRY(create_nameless(file.path));
    TRY(write_content(*source_, file.space, file.size, made.get()));
    TRY(sys::fchmod(made.get(), file.mode));
    TRY(sys::set_mtime(made.get(), file.mtime_ns));
    found = nameless_.emplace(space, std::move(made)).first;
  }
  return fmt::format("/proc/self/fd/{}", found->second.get());
}

Result<> OpenFiles::lay_out_bundled(const image::MappedFileRecord& record, const std::string& path) {
  Result<sys::UniqueFd> there = sys::open(path, O_RDONLY);
  if (there.has_value()) {
    // An earlier restart laid it out; it is named by its content, and must have it.
    struct stat now = TRY(sys::fstat(there->get()));
    if (static_cast<uint64_t>(now.st_size) == record.size &&
        TRY(hash_content(there->get(), record.size)) == record.content)
      return {};
  }
  TRY(sys::make_directories(options_.bundle_directory, 0700));
  std::string partial = fmt::format("{}.{}", path, ::getpid());
  sys::UniqueFd file = TRY(sys::open(partial, O_RDWR | O_CREAT | O_TRUNC, 0700));
  TRY(write_content(*source_, record.content_space, record.size, file.get()));
  if (TRY(hash_content(file.get(), record.size)) != record.content)
    return damaged("the bundled file is not what was saved");
  return sys::rename(partial, path);
}

}  // namespace stint::files
