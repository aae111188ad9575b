#include "fd/unix_socket_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "sys/child.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

constexpr mode_t kPermissions = 07777;

std::string path_in(const std::string& name) { return name.substr(0, name.find('\0')); }

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

bool is_the_file(const std::string& path, uint32_t inode) {
  Result<struct stat> there = sys::lstat(path);
  return there.has_value() && S_ISSOCK(there->st_mode) && static_cast<uint32_t>(there->st_ino) == inode;
}

// The process's mounts and root may not be ours.
std::string as_we_see(const Facts& facts, const std::string& path) {
  return sys::proc_path(facts.seen_as, "root") + path;
}

// Servers bind to a name of their own and rename the file to the public one.
std::string find_renamed(const Facts& facts, const std::string& directory, uint32_t inode) {
  Result<std::vector<std::string>> names = sys::list_directory(as_we_see(facts, directory));
  if (!names.has_value()) return "";
  for (const std::string& name : *names) {
    std::string path = (directory == "/" ? "" : directory) + "/" + name;
    if (is_the_file(as_we_see(facts, path), inode)) return path;
  }
  return "";
}

}  // namespace

Result<std::string> absolute_socket_path(const Facts& facts, const std::string& name) {
  std::string path = path_in(name);
  if (path.starts_with('/')) return path;
  return TRY(sys::readlink(sys::proc_path(facts.seen_as, "cwd"))) + "/" + path;
}

Result<std::optional<image::SocketFile>> find_socket_file(const Facts& facts, const std::string& name, uint32_t inode) {
  image::SocketFile file;
  file.path = TRY(absolute_socket_path(facts, name));
  bool relative = !name.starts_with('/');
  if (relative) file.directory = file.path.substr(0, file.path.size() - path_in(name).size() - 1);
  if (!is_the_file(as_we_see(facts, file.path), inode)) file.path = find_renamed(facts, parent_of(file.path), inode);
  if (file.path.empty() && relative)
    return refusal(facts,
                   fmt::format("is bound to {}, which is not in the working directory of the process: it is gone, or "
                               "was meant in another directory",
                               path_in(name)),
                   "bind it to an absolute path, or close it");
  if (file.path.empty()) return std::optional<image::SocketFile>();
  struct stat there = TRY(sys::lstat(as_we_see(facts, file.path)));
  file.mode = there.st_mode & kPermissions;
  file.uid = there.st_uid, file.gid = there.st_gid;
  return std::optional(std::move(file));
}

namespace {

Result<sys::UniqueFd> open_way(const std::string& path) { return sys::open(path, O_PATH | O_NOFOLLOW); }

// Whether a socket is bound to the file: a probe of the wrong type is told so, and otherwise does nothing.
Result<bool> is_in_use(const std::string& way) {
  for (int type : {SOCK_DGRAM, SOCK_STREAM}) {
    sys::UniqueFd probe = TRY(sys::socket(AF_UNIX, type, 0));
    Result<> connected = sys::connect_unix(probe.get(), way);
    if (connected.has_value() || connected.error().os_errno() == EPROTOTYPE) return true;
    if (connected.error().os_errno() == ECONNREFUSED) return false;
    // A datagram socket that is connected to another takes nothing from us.
    if (connected.error().os_errno() != EPERM) return std::move(connected).error();
  }
  return true;
}

Result<bool> somebody_listens(const std::string& path, mode_t mode) {
  sys::UniqueFd file = TRY(open_way(path));
  std::string way = fmt::format("/proc/self/fd/{}", file.get());
  Result<bool> used = is_in_use(way);
  if (used.has_value() || used.error().os_errno() != EACCES) return used;
  // Permissions that keep us out ourselves.
  TRY(sys::chmod(way, 0600));
  used = is_in_use(way);
  TRY(sys::chmod(way, mode));
  return used;
}

Result<> clear_the_way(const std::string& path) {
  Result<struct stat> there = sys::lstat(path);
  if (!there.has_value()) {
    if (there.error().os_errno() == ENOENT) return {};
    return std::move(there).error().as(ErrorKind::kUnfit);
  }
  if (!S_ISSOCK(there->st_mode))
    return unfit(path + " was the job's unix socket and is another file now: move it away");
  if (TRY(somebody_listens(path, there->st_mode & kPermissions).in(path).as(ErrorKind::kUnfit)))
    return unfit(path + " was the job's unix socket and is another program's now: end that program");
  return sys::unlink(path).as(ErrorKind::kUnfit);
}

Result<> set_owner_and_mode(int way, const image::SocketFile& file) {
  std::string path = fmt::format("/proc/self/fd/{}", way);
  struct stat now = TRY(sys::fstat(way));
  if (now.st_uid != file.uid || now.st_gid != file.gid)
    TRY(sys::chown(path, file.uid, file.gid).in(file.path).as(ErrorKind::kUnfit));
  return sys::chmod(path, file.mode).in(file.path).as(ErrorKind::kUnfit);
}

}  // namespace

Result<sys::UniqueFd> bind_with_file(int socket, const std::string& name, const image::SocketFile& file) {
  std::string bound = path_in(name).starts_with('/') ? path_in(name) : file.directory + "/" + path_in(name);
  TRY(clear_the_way(bound));
  if (file.path != bound) TRY(clear_the_way(file.path));
  sys::MadeFds made =
      TRY(sys::in_child({},
                        [&]() -> Result<sys::MadeFds> {
                          if (!file.directory.empty()) TRY(sys::change_directory(file.directory));
                          sys::set_umask(0777);  // Nobody connects before the permissions are what they were.
                          TRY(sys::bind_unix(socket, name));
                          if (file.path != bound) TRY(sys::rename(bound, file.path));
                          return sys::MadeFds{TRY(open_way(file.path)).release(), -1};
                        })
              .in(file.path)
              .as(ErrorKind::kUnfit));
  sys::UniqueFd way(made[0]);
  TRY(set_owner_and_mode(way.get(), file));
  return way;
}

Result<sys::UniqueFd> bind_without_file(int socket, const std::string& name) {
  std::string path = path_in(name);
  sys::MadeFds made = TRY(sys::in_child({}, [&]() -> Result<sys::MadeFds> {
                            TRY(sys::enter_empty_root());
                            TRY(sys::make_directories(parent_of(path), 0700));
                            TRY(sys::bind_unix(socket, name));
                            return sys::MadeFds{TRY(open_way(path)).release(), -1};
                          }).in(fmt::format("a unix socket whose file {} is gone", path)));
  return sys::UniqueFd(made[0]);
}

}  // namespace stint::fd
