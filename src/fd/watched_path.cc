#include "fd/watched_path.h"

#include <fmt/format.h>
#include <sys/inotify.h>

#include <algorithm>
#include <set>

#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/inotify.h"
#include "sys/procfs.h"

namespace stint::fd {
namespace {

constexpr size_t kMostEntries = 20'000;  // of directories that are searched, all together: some 20 ms

// What the kernel shows of a watched inode.
using Inode = std::tuple<uint64_t, uint64_t, std::string>;
Inode inode_of(const proc::InotifyWatch& watch) { return {watch.sdev, watch.ino, watch.handle}; }

class Search {
 public:
  Search(const Facts& inotify, const CaptureContext& context, sys::UniqueFd probe)
      : inotify_(inotify), context_(context), probe_(std::move(probe)), root_(sys::proc_path(inotify.seen_as, "root")) {
    for (const proc::InotifyWatch& watch : inotify.info.inotify) {
      missing_.insert(inode_of(watch));
      numbers_.insert(watch.ino);
    }
  }

  Result<std::map<int, WatchedPath>> run() {
    guess_open_files();
    TRY(look());
    guess_names();
    TRY(look());
    while (!missing_.empty() && search_known_directories()) TRY(look());
    while (!missing_.empty() && search_below_working_directories()) TRY(look());
    std::map<int, WatchedPath> found;
    for (const proc::InotifyWatch& watch : inotify_.info.inotify)
      if (auto path = found_.find(inode_of(watch)); path != found_.end()) found.emplace(watch.wd, path->second);
    return found;
  }

 private:
  // What is asked is which inode it leads to, so the mask is whatever hardly ever happens.
  void guess(const std::string& probe, const WatchedPath& candidate) {
    Result<int> watch = sys::watch_inode(probe_.get(), probe, IN_UNMOUNT | IN_DELETE_SELF);
    if (watch.has_value()) guessed_.try_emplace(*watch, candidate);
  }

  void guess_open_files() {
    for (const auto& [number, facts] : context_.by_number) {
      if (!numbers_.contains(facts->stat.st_ino) && !S_ISDIR(facts->stat.st_mode)) continue;
      bool named = facts->link.starts_with('/');
      guess(fmt::format("/proc/self/fd/{}", facts->ours.get()),
            {named ? facts->link : "", context_.description_of.at(number), S_ISDIR(facts->stat.st_mode)});
    }
  }

  void guess_names() {
    std::set<int> seen;
    for (const auto& [number, facts] : context_.by_number) {
      if (facts->link.starts_with('/')) guess_name(facts->link);
      if (seen.insert(number.first).second) guess_names_of(facts->seen_as);
    }
    for (const std::string& name : context_.names) guess_name(name);
  }

  void guess_names_of(Pid pid) {
    std::string directory = sys::readlink(sys::proc_path(pid, "cwd")).value_or("/");
    guess_name(directory);
    below_.push_back(directory);
    guess_name(sys::readlink(sys::proc_path(pid, "exe")).value_or("/"));
    std::string words = sys::read_proc(pid, "cmdline").value_or("");
    for (size_t at = 0; at < words.size();) {
      std::string word = words.c_str() + at;
      at += word.size() + 1;
      if (word.empty()) continue;
      guess_name(word[0] == '/' ? word : directory + "/" + word);
    }
  }

  // The name and all above it.
  void guess_name(std::string name) {
    while (name.size() > 1 && name[0] == '/' && names_.insert(name).second) {
      Result<struct stat> stat = sys::stat(root_ + name);
      bool directory = stat.has_value() && S_ISDIR(stat->st_mode);
      if (stat.has_value()) guess(root_ + name, {name, 0, directory});
      if (directory) directories_.push_back(name);
      name.resize(name.rfind('/'));
    }
    if (names_.insert("/").second) {
      guess(root_ + "/", {"/", 0, true});
      directories_.push_back("");
    }
  }

  // Takes what our own watches show, and forgets them.
  Result<> look() {
    proc::FdInfo info = TRY(proc::parse_fdinfo(TRY(sys::read_proc(Pid{0}, fmt::format("fdinfo/{}", probe_.get())))));
    for (const proc::InotifyWatch& ours : info.inotify) {
      auto guess = guessed_.find(ours.wd);
      if (guess == guessed_.end() || missing_.erase(inode_of(ours)) == 0) continue;
      if (guess->second.directory && !guess->second.path.empty()) directories_.push_back(guess->second.path);
      found_.emplace(inode_of(ours), std::move(guess->second));
    }
    guessed_.clear();
    probe_ = TRY(sys::inotify());
    return {};
  }

  // These two: whether there was anything to search.
  bool search_known_directories() {
    std::vector<std::string> directories = std::exchange(directories_, {});
    for (const std::string& directory : directories)
      if (searched_.insert(directory).second) search(directory);
    return !directories.empty();
  }

  bool search_below_working_directories() {
    std::vector<std::string> level = std::exchange(below_, {});
    for (const std::string& directory : level) {
      searched_.insert(directory);
      for (const std::string& name : search(directory)) {
        std::string child = (directory == "/" ? "" : directory) + "/" + name;
        if (!searched_.contains(child)) below_.push_back(std::move(child));
      }
    }
    return !level.empty();
  }

  // Guesses what has one of the numbers; the names of the directories that lie there.
  std::vector<std::string> search(const std::string& directory) {
    std::vector<std::string> children;
    Result<std::vector<sys::DirectoryEntry>> entries = sys::list_entries(root_ + directory + "/", left_);
    if (!entries.has_value()) return children;
    left_ -= entries->size();
    for (const sys::DirectoryEntry& entry : *entries) {
      if (numbers_.contains(entry.inode)) guess_name((directory == "/" ? "" : directory) + "/" + entry.name);
      if (entry.directory) children.push_back(entry.name);
    }
    return children;
  }

  const Facts& inotify_;
  const CaptureContext& context_;
  sys::UniqueFd probe_;
  std::string root_;
  std::set<Inode> missing_;
  std::set<uint64_t> numbers_;
  std::set<std::string> names_, searched_;
  std::vector<std::string> directories_;  // to be searched
  std::vector<std::string> below_;        // to be searched with all below them
  std::map<int, WatchedPath> guessed_;
  std::map<Inode, WatchedPath> found_;
  size_t left_ = kMostEntries;
};

}  // namespace

Result<std::map<int, WatchedPath>> find_watched_paths(const Facts& inotify, const CaptureContext& context) {
  if (inotify.info.inotify.empty()) return std::map<int, WatchedPath>();
  return Search(inotify, context, TRY(sys::inotify())).run();
}

}  // namespace stint::fd
