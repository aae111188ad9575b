#include "store/checkpoint_dir.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#include "sys/file.h"

namespace stint::store {
namespace {

struct Numbers {
  uint64_t newest = 0;  // of the whole ones
  uint64_t next = 1;
};

// On the way, removes what dead writers have left.
Result<Numbers> look_at_numbers(const std::string& checkpoints) {
  Numbers numbers;
  for (const std::string& name : TRY(sys::list_directory(checkpoints))) {
    if (name.ends_with(kPartialSuffix)) TRY(sys::remove_tree(checkpoints + "/" + name));
    uint64_t number = checkpoint_number(name);
    numbers.newest = std::max(numbers.newest, number);
    // One on whose pages others lean is not there any more, and its number must not be another's.
    if (name.ends_with(kLeftPagesSuffix)) number = checkpoint_number(name.substr(0, name.find('.')));
    numbers.next = std::max(numbers.next, number + 1);
  }
  return numbers;
}

// On a file system that locks no directories (NFS), the lock of the job has to do, which every command holds.
Result<bool> lock_directory(int directory) {
  Result<bool> locked = sys::try_lock(directory, sys::Lock::kExclusive);
  bool no_such_lock =
      !locked.has_value() && (locked.error().os_errno() == EBADF || locked.error().os_errno() == ENOLCK);
  return no_such_lock ? Result<bool>(true) : locked;
}

// Nobody but us, who have the lock, makes what is called `to`: where NFS cannot look and rename at once, one after the
// other will do.
Result<> give_name(const std::string& from, const std::string& to) {
  Result<> renamed = sys::rename_to_new(from, to);
  bool unknown = !renamed.has_value() && renamed.error().os_errno() == EINVAL;
  return unknown && !sys::lstat(to).has_value() ? sys::rename(from, to) : renamed;
}

}  // namespace

uint64_t checkpoint_number(std::string_view name) {
  uint64_t number = 0;
  std::from_chars_result read = std::from_chars(name.data(), name.data() + name.size(), number);
  bool whole = read.ec == std::errc() && read.ptr == name.data() + name.size();
  return whole && !name.starts_with('0') ? number : 0;
}

std::string directory_of_pages(const std::string& checkpoints, uint64_t number) {
  std::string whole = checkpoints + "/" + std::to_string(number);
  return sys::lstat(whole).has_value() ? whole : whole + kLeftPagesSuffix;
}

Error writing_error(Error error, const std::string& path) {
  int cause = error.os_errno();
  Error told = std::move(error).in(path);
  const char* remedy = nullptr;
  if (cause == ENOSPC) remedy = "free space there, or keep checkpoints on another file system with STINT_HOME or --dir";
  if (cause == EDQUOT)
    remedy = "the disk quota is used up; free space, or keep checkpoints elsewhere with STINT_HOME or --dir";
  if (cause == EROFS || cause == EACCES) remedy = "keep checkpoints where you may write, with STINT_HOME or --dir";
  if (cause == EIO) remedy = "the disk failed; keep checkpoints on another one with STINT_HOME or --dir";
  if (remedy == nullptr) return told;
  return Error(told.kind(), told.text() + " (" + remedy + ")", cause);
}

Result<PartialCheckpoint> PartialCheckpoint::create(const std::string& checkpoints) {
  PartialCheckpoint made;
  made.checkpoints_ = checkpoints;
  auto with_remedy = [&](auto result) {
    if (!result.has_value()) result = writing_error(std::move(result).error(), checkpoints);
    return result;
  };
  TRY(with_remedy(sys::make_directories(checkpoints, 0700)));
  made.parent_ = TRY(sys::open(checkpoints, O_RDONLY | O_DIRECTORY));
  if (!TRY(lock_directory(made.parent_.get()).in(checkpoints)))
    return failed(checkpoints + ": another checkpoint of this job is being written; wait for it to end");
  Numbers numbers = TRY(with_remedy(look_at_numbers(checkpoints)));
  made.number_ = numbers.next, made.newest_ = numbers.newest;
  made.final_ = checkpoints + "/" + std::to_string(made.number_);
  made.partial_ = made.final_ + kPartialSuffix;
  TRY(with_remedy(sys::mkdir(made.partial_, 0700)));
  made.unfinished_ = true;
  TRY(with_remedy(made.make_files()));
  return made;
}

PartialCheckpoint::PartialCheckpoint(PartialCheckpoint&& other) noexcept
    : checkpoints_(std::move(other.checkpoints_)),
      partial_(std::move(other.partial_)),
      final_(std::move(other.final_)),
      number_(other.number_),
      newest_(other.newest_),
      unfinished_(std::exchange(other.unfinished_, false)),
      parent_(std::move(other.parent_)),
      directory_(std::move(other.directory_)),
      records_(std::move(other.records_)),
      pages_(std::move(other.pages_)),
      hashes_(std::move(other.hashes_)) {}

PartialCheckpoint::~PartialCheckpoint() {
  if (!unfinished_) return;
  // Over NFS the name of a file that is open stays, and its directory with it.
  for (sys::UniqueFd* file : {&directory_, &records_, &pages_, &hashes_}) file->reset();
  // A failure leaves N.partial to the next writer.
  static_cast<void>(sys::remove_tree(partial_).has_value());
}

Result<> PartialCheckpoint::make_files() {
  constexpr int kNew = O_CREAT | O_EXCL | O_NOFOLLOW;
  directory_ = TRY(sys::open(partial_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  records_ = TRY(sys::open_at(directory_.get(), kRecordsFile, O_WRONLY | kNew, 0600));
  pages_ = TRY(sys::open_at(directory_.get(), kPagesFile, O_WRONLY | kNew, 0600));
  hashes_ = TRY(sys::open_at(directory_.get(), kHashesFile, O_WRONLY | kNew, 0600));
  return {};
}

Result<> PartialCheckpoint::write_manifest(const Manifest& manifest) {
  sys::UniqueFd file =
      TRY(sys::open_at(directory_.get(), kManifestFile, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  std::string text = to_json(manifest).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return sys::write_all(file.get(), bytes_of(text));
}

namespace {

Result<> told(Result<> result, const std::string& path) {
  if (!result.has_value()) return writing_error(std::move(result).error(), path);
  return result;
}

}  // namespace

Result<> PartialCheckpoint::write(ByteView records, const Manifest& manifest) {
  TRY(told(sys::write_all(records_.get(), records), partial_ + "/" + kRecordsFile));
  return told(write_manifest(manifest), partial_ + "/" + kManifestFile);
}

Result<> PartialCheckpoint::publish(bool durable) {
  if (durable) {
    // The content first, then the names of the files, and only then the name of the whole. The manifest and the
    // hashes are left out: the checkpoint is good without them.
    TRY(told(sys::fsync(pages_.get()), pages_path()));
    TRY(told(sys::fsync(records_.get()), partial_ + "/" + kRecordsFile));
    TRY(told(sys::fsync(directory_.get()), partial_));
  }
  TRY(told(give_name(partial_, final_), final_));
  if (durable) {
    Result<> kept = told(sys::fsync(parent_.get()), checkpoints_);
    if (!kept.has_value()) {
      // The name may not outlast a power failure: no name at all is the better answer.
      TRY(sys::rename(final_, partial_));
      return kept;
    }
  }
  unfinished_ = false;
  return {};
}

}  // namespace stint::store
