#include "files/put_back.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "files/content.h"
#include "files/open_as_owner.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {
namespace {

// kept_directory/1, /2 ...: the first that is not there yet.
Result<std::string> make_kept_directory(const std::string& kept_directory) {
  TRY(sys::make_directories(kept_directory, 0700));
  for (int number = 1;; ++number) {
    std::string directory = fmt::format("{}/{}", kept_directory, number);
    Result<> made = sys::mkdir(directory, 0700);
    if (made.has_value()) return directory;
    if (made.error().os_errno() != EEXIST) return std::move(made).error();
  }
}

}  // namespace

// One file on its way back: prepare() and act() of all come first, then settle() of all, or undo() of all.
class Step {
 public:
  Step(const FileChange& change, const image::Source& source, std::string kept_directory)
      : change_(change),
        record_(change.record),
        source_(source),
        kept_(fmt::format("{}/{}", kept_directory, change.record.id)),
        beside_(fmt::format("{}.stint-{}-{}", change.record.path, ::getpid(), change.record.id)) {}
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  // Copies what is there, and makes the new file beside it. Touches nothing of the user's.
  Result<> prepare();
  Result<> act();
  // Takes back what act() did, or a part of it, and what prepare() made.
  Result<> undo();
  // Makes it final, and cannot fail any more; says what was done.
  std::string settle();

 private:
  bool in_place() const { return change_.act == Act::kCut || change_.act == Act::kPutBack; }
  uint64_t size_now() const { return static_cast<uint64_t>(change_.now.st_size); }
  uint64_t kept_from() const { return change_.act == Act::kCut ? record_.size : 0; }
  Result<> keep();
  Result<> write_note();
  Result<> make_beside();
  Result<> act_in_place();
  Result<> undo_in_place();

  const FileChange& change_;
  const image::FileStateRecord& record_;
  const image::Source& source_;
  std::string kept_;    // what is cut or overwritten
  std::string beside_;  // the new file, in the same directory
  bool made_beside_ = false;
  bool acted_ = false;
};

Result<> Step::prepare() {
  if (change_.act != Act::kRecreate) TRY(keep());
  if (!in_place()) TRY(make_beside());
  return {};
}

Result<> Step::keep() {
  sys::UniqueFd file = TRY(open_as_owner(record_.path, O_RDONLY | O_NOFOLLOW));
  struct stat now = TRY(sys::fstat(file.get()));
  if (now.st_ino != change_.now.st_ino || now.st_size != change_.now.st_size ||
      sys::mtime_ns(now) != sys::mtime_ns(change_.now))
    return unfit("it changes while it is being put back: end the program that writes it");
  sys::UniqueFd copy = TRY(sys::open(kept_, O_RDWR | O_CREAT | O_EXCL, 0600));
  TRY(sys::copy_range(file.get(), kept_from(), copy.get(), 0, size_now() - kept_from()).in(kept_));
  TRY(sys::fsync(copy.get()).in(kept_));
  return write_note();
}

Result<> Step::write_note() {
  nlohmann::ordered_json note = {
      {"path", record_.path},
      {"why", change_.act == Act::kCut ? "grew after the checkpoint" : "differed from the checkpoint"},
      {"offset", kept_from()},
      {"size", size_now() - kept_from()},
      {"mtime_ns", sys::mtime_ns(change_.now)},
      {"inode", change_.now.st_ino}};
  std::string text = note.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::string path = kept_ + ".json";
  sys::UniqueFd file = TRY(sys::open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return sys::write_all(file.get(), bytes_of(text)).in(path);
}

Result<> Step::make_beside() {
  sys::UniqueFd file = TRY(sys::open(beside_, O_RDWR | O_CREAT | O_EXCL, 0600));
  made_beside_ = true;
  TRY(write_content(source_, record_.content_space, record_.size, file.get()));
  struct stat made = TRY(sys::fstat(file.get()));
  if (made.st_uid != record_.uid || made.st_gid != record_.gid)
    TRY(sys::fchown(file.get(), record_.uid, record_.gid)
            .in(fmt::format("making it the file of user {} and group {} again", record_.uid, record_.gid)));
  TRY(sys::fchmod(file.get(), record_.mode & 07777));
  TRY(sys::set_mtime(file.get(), record_.mtime_ns));
  return sys::fsync(file.get());
}

Result<> Step::act() {
  acted_ = true;
  if (in_place()) return act_in_place();
  Result<> named =
      change_.act == Act::kReplace ? sys::exchange(beside_, record_.path) : sys::rename_to_new(beside_, record_.path);
  if (!named.has_value()) {
    acted_ = false;
    return named;
  }
  made_beside_ = change_.act == Act::kReplace;
  return {};
}

Result<> Step::act_in_place() {
  sys::UniqueFd file = TRY(open_as_owner(record_.path, O_RDWR | O_NOFOLLOW));
  if (change_.act == Act::kCut)
    TRY(sys::ftruncate(file.get(), record_.size));
  else
    TRY(write_content(source_, record_.content_space, record_.size, file.get()));
  return sys::set_mtime(file.get(), record_.mtime_ns);
}

Result<> Step::undo_in_place() {
  sys::UniqueFd file = TRY(open_as_owner(record_.path, O_RDWR | O_NOFOLLOW));
  sys::UniqueFd copy = TRY(sys::open(kept_, O_RDONLY));
  TRY(sys::ftruncate(file.get(), kept_from()));
  TRY(sys::copy_range(copy.get(), 0, file.get(), kept_from(), size_now() - kept_from()));
  return sys::set_mtime(file.get(), sys::mtime_ns(change_.now));
}

Result<> Step::undo() {
  if (acted_ && in_place())
    TRY(undo_in_place().in(fmt::format("{} could not be made what it was before the restart; its content is kept in {}",
                                       record_.path, kept_)));
  if (acted_ && change_.act == Act::kReplace) TRY(sys::exchange(beside_, record_.path));
  if (acted_ && change_.act == Act::kRecreate) TRY(sys::unlink(record_.path));
  if (made_beside_) TRY(sys::unlink(beside_));
  return {};
}

std::string Step::settle() {
  std::string beside;
  if (made_beside_ && !sys::unlink(beside_).has_value()) beside = fmt::format(" and in {}", beside_);
  switch (change_.act) {
    case Act::kCut:
      return fmt::format("{}: cut {} bytes that the job wrote after the checkpoint, kept in {}", record_.path,
                         size_now() - record_.size, kept_);
    case Act::kPutBack:
    case Act::kReplace:
      return fmt::format("{}: put back; what was there is kept in {}{}", record_.path, kept_, beside);
    case Act::kRecreate:
      break;
  }
  return fmt::format("{}: was gone, made anew", record_.path);
}

PutBackFiles::PutBackFiles() = default;
PutBackFiles::PutBackFiles(PutBackFiles&&) noexcept = default;
PutBackFiles::~PutBackFiles() = default;

Result<> PutBackFiles::run() {
  for (std::unique_ptr<Step>& step : steps_) TRY(step->prepare());
  for (std::unique_ptr<Step>& step : steps_) TRY(step->act());
  return {};
}

std::vector<std::string> PutBackFiles::settle() {
  std::vector<std::string> done;
  for (std::unique_ptr<Step>& step : std::exchange(steps_, {})) done.push_back(step->settle());
  return done;
}

Result<> PutBackFiles::undo() {
  std::vector<std::unique_ptr<Step>> steps = std::exchange(steps_, {});
  std::string left;
  for (std::vector<std::unique_ptr<Step>>::reverse_iterator step = steps.rbegin(); step != steps.rend(); ++step) {
    Result<> undone = (*step)->undo();
    if (!undone.has_value()) left += (left.empty() ? "" : "; ") + undone.error().text();
  }
  if (!left.empty()) return failed(left);
  if (!kept_.empty()) TRY(sys::remove_tree(kept_));
  return {};
}

Result<PutBackFiles> put_back(const FilePlan& plan, const image::Source& source, const CheckOptions& options) {
  PutBackFiles files;
  if (plan.changes.empty()) return files;
  files.kept_ = TRY(make_kept_directory(options.kept_directory));
  for (const FileChange& change : plan.changes)
    files.steps_.push_back(std::make_unique<Step>(change, source, files.kept_));
  Result<> ran = files.run();
  if (ran.has_value()) return files;
  Result<> undone = files.undo();
  if (!undone.has_value()) return failed(fmt::format("{}; and: {}", ran.error().text(), undone.error().text()));
  return std::move(ran).error();
}

}  // namespace stint::files
