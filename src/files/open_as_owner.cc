#include "files/open_as_owner.h"

#include <sys/stat.h>

#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {

Result<sys::UniqueFd> open_as_owner(const std::string& path, int flags) {
  Result<sys::UniqueFd> opened = sys::open(path, flags);
  if (opened.has_value() || opened.error().os_errno() != EACCES) return opened;
  Result<struct stat> there = sys::stat(path);
  if (!there.has_value() || (there->st_mode & (S_IRUSR | S_IWUSR)) == (S_IRUSR | S_IWUSR)) return opened;
  if (!sys::chmod(path, (there->st_mode & 07777) | S_IRUSR | S_IWUSR).has_value()) return opened;  // Not the owner.
  Result<sys::UniqueFd> second = sys::open(path, flags);
  TRY(sys::chmod(path, there->st_mode & 07777).in("mode of the file, after opening it"));
  return second;
}

}  // namespace stint::files
