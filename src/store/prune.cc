#include "store/prune.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "store/checkpoint_dir.h"
#include "store/reader.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::store {
namespace {

// What there is, and what of it is needed.
struct Inventory {
  std::vector<std::string> partial;               // names
  std::vector<std::string> left;                  // names of directories N.pages
  std::map<uint64_t, std::vector<Range>> blocks;  // of the checkpoints on which others lean: what these have of them
};

uint64_t number_of_left(const std::string& name) { return checkpoint_number(name.substr(0, name.find('.'))); }

Result<> note_needed(const std::string& checkpoint, Inventory& inventory) {
  image::PageIndex index = TRY(Reader::index_of(checkpoint));
  for (const image::LeansOn& on : index.leans_on) inventory.blocks[on.checkpoint];
  for (const image::StoredBlock& block : index.blocks)
    if (block.storage != image::Storage::kZero && block.checkpoint != 0)
      inventory.blocks[block.checkpoint].push_back({block.stored_at, block.stored_at + block.stored_size});
  return {};
}

Result<Inventory> take_inventory(const std::string& checkpoints) {
  Inventory inventory;
  Result<std::vector<std::string>> names = sys::list_directory(checkpoints);
  if (!names.has_value() && names.error().os_errno() == ENOENT) return inventory;
  for (const std::string& name : TRY(std::move(names))) {
    if (name.ends_with(kPartialSuffix))
      inventory.partial.push_back(name);
    else if (checkpoint_number(name) != 0)
      TRY(note_needed(checkpoints + "/" + name, inventory));
    else if (name.ends_with(kLeftPagesSuffix) && number_of_left(name) != 0)
      inventory.left.push_back(name);
  }
  for (auto& [number, blocks] : inventory.blocks) std::ranges::sort(blocks, {}, &Range::start);
  return inventory;
}

uint64_t bytes_on_disk(const std::string& path) {
  constexpr uint64_t kStatBlock = 512;
  Result<struct stat> found = sys::lstat(path);
  if (!found.has_value()) return 0;
  uint64_t bytes = static_cast<uint64_t>(found->st_blocks) * kStatBlock;
  if (!S_ISDIR(found->st_mode)) return bytes;
  Result<std::vector<std::string>> names = sys::list_directory(path);
  for (const std::string& name : names.value_or(std::vector<std::string>())) bytes += bytes_on_disk(path + "/" + name);
  return bytes;
}

// One removal after another.
class Sweep {
 public:
  Sweep(const std::string& checkpoints, bool dry_run) : checkpoints_(checkpoints), dry_run_(dry_run) {}

  Result<> remove(const std::string& name) {
    note(name, bytes_on_disk(checkpoints_ + "/" + name));
    return dry_run_ ? Result<>() : sys::remove_tree(checkpoints_ + "/" + name);
  }

  // It loses its name first: half removed, it must not be taken for pages that are there.
  Result<> remove_left(const std::string& name) {
    if (dry_run_) return remove(name);
    TRY(sys::rename(checkpoints_ + "/" + name, checkpoints_ + "/" + name + kPartialSuffix));
    TRY(remove(name + kPartialSuffix));
    pruned_.removed.back() = name;
    return {};
  }

  Result<> leave_only_pages(const std::string& name) {
    for (const std::string& part : TRY(sys::list_directory(checkpoints_ + "/" + name)))
      if (part != kPagesFile && part != kHashesFile) TRY(remove(name + "/" + part));
    return {};
  }

  // Gives back what lies between these blocks, which are in their order.
  Result<> leave_only_blocks(const std::string& name, const std::vector<Range>& blocks) {
    std::string part = name + "/" + kPagesFile, path = checkpoints_ + "/" + part;
    sys::UniqueFd file = TRY(sys::open(path, O_RDWR | O_NOFOLLOW));
    // Who restarts one that is just being forgotten may have to read it all.
    if (!sys::try_lock(file.get(), sys::Lock::kExclusive).value_or(false)) return {};
    uint64_t size = static_cast<uint64_t>(TRY(sys::fstat(file.get()).in(path)).st_size), freed = 0, at = 0;
    for (size_t i = 0; i <= blocks.size(); ++i) {
      // Whole pages only: of others nothing is given back.
      Range between{page_up(at), i < blocks.size() ? page_down(std::min(blocks[i].start, size)) : size};
      freed += TRY(give_back(file.get(), between).in(path));
      if (i < blocks.size()) at = std::max(at, blocks[i].end);
    }
    if (freed > 0) note(part, freed);
    return {};
  }

  Pruned take() { return std::move(pruned_); }

 private:
  void note(const std::string& name, uint64_t bytes) {
    pruned_.removed.push_back(name);
    pruned_.freed_bytes += bytes;
  }

  // What the bytes took; nothing where they are a hole already, or the file system makes none.
  Result<uint64_t> give_back(int fd, Range bytes) {
    uint64_t taken = 0;
    for (Range data = {bytes.start, bytes.start}; data.end < bytes.end;) {
      data = TRY(sys::next_data(fd, data.end, bytes.end));
      taken += data.size();
    }
    if (taken == 0 || dry_run_) return taken;
    return TRY(sys::punch_hole(fd, bytes)) ? taken : 0;
  }

  const std::string& checkpoints_;
  const bool dry_run_;
  Pruned pruned_;
};

}  // namespace

Result<Pruned> prune(const std::string& checkpoints, bool dry_run) {
  Inventory inventory = TRY(take_inventory(checkpoints));
  Sweep sweep(checkpoints, dry_run);
  if (!dry_run && !(inventory.partial.empty() && inventory.left.empty())) {
    // Whatever has lost its name must not have it again after a power failure, when parts of it are gone.
    sys::UniqueFd parent = TRY(sys::open(checkpoints, O_RDONLY | O_DIRECTORY));
    TRY(sys::fsync(parent.get()).in(checkpoints));
  }
  for (const std::string& name : inventory.partial) TRY(sweep.remove(name));
  for (const std::string& name : inventory.left) {
    auto needed = inventory.blocks.find(number_of_left(name));
    if (needed == inventory.blocks.end()) {
      TRY(sweep.remove_left(name));
      continue;
    }
    TRY(sweep.leave_only_pages(name));
    TRY(sweep.leave_only_blocks(name, needed->second));
  }
  return sweep.take();
}

}  // namespace stint::store
