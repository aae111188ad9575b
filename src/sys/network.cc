#include "sys/network.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "sys/call.h"
#include "sys/child.h"
#include "sys/file.h"
#include "sys/namespace.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "sys/socket.h"

namespace stint::sys {
namespace {

constexpr int kLoopback = 1;  // the index of "lo" in every network namespace

Result<> enter_new_network() {
  Result<> alone = unshare(CLONE_NEWNET);
  if (alone.has_value() || alone.error().os_errno() != EPERM) return alone;
  uid_t user = effective_user();
  gid_t group = effective_group();
  TRY(unshare(CLONE_NEWUSER | CLONE_NEWNET));
  return map_own_ids(user, group);
}

Result<> bring_loopback_up() {
  UniqueFd socket = TRY(sys::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", sizeof("lo"));
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  TRY(call("SIOCSIFFLAGS", [&] { return ::ioctl(socket.get(), SIOCSIFFLAGS, &request); }));
  return {};
}

// The user namespace that it belongs to, where that is not ours; only from there it can be entered.
Result<UniqueFd> owner_of(int network) {
  UniqueFd owner(static_cast<int>(TRY(call("NS_GET_USERNS", [&] { return ::ioctl(network, NS_GET_USERNS); }))));
  struct stat its = TRY(fstat(owner.get())), ours = TRY(stat("/proc/self/ns/user"));
  return its.st_ino == ours.st_ino ? UniqueFd() : std::move(owner);
}

// A number, or -errno, that a child leaves for us.
class SharedNumber {
 public:
  static Result<SharedNumber> make() {
    void* memory = ::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return os_error("mmap");
    return SharedNumber(static_cast<int*>(memory));
  }
  SharedNumber(SharedNumber&& other) noexcept : number_(std::exchange(other.number_, nullptr)) {}
  SharedNumber& operator=(SharedNumber&&) = delete;
  ~SharedNumber() {
    if (number_ != nullptr) ::munmap(number_, sizeof(int));
  }
  int& operator*() { return *number_; }

 private:
  explicit SharedNumber(int* number) : number_(number) {}
  int* number_;
};

// In the child, which may be that of a process with several threads: so nothing here takes memory, or a lock.
int make_in(int owner, int network, int domain, int type, int protocol) {
  if (owner >= 0 && ::setns(owner, CLONE_NEWUSER) != 0) return -errno;
  if (::setns(network, CLONE_NEWNET) != 0) return -errno;
  int made = ::socket(domain, type | SOCK_CLOEXEC, protocol);
  return made >= 0 ? made : -errno;
}

}  // namespace

Result<UniqueFd> make_network() {
  MadeFds made = TRY(in_child({}, []() -> Result<MadeFds> {
                       TRY(enter_new_network());
                       TRY(bring_loopback_up());
                       return MadeFds{TRY(sys::open("/proc/self/ns/net", O_RDONLY)).release(), -1};
                     }).in("a network namespace for connections whose other end is gone"));
  return UniqueFd(made[0]);
}

Result<UniqueFd> socket_in(int network, int domain, int type, int protocol) {
  UniqueFd owner = TRY(owner_of(network));
  SharedNumber made = TRY(SharedNumber::make());
  *made = -ECHILD;  // It was killed before it could say.
  clone_args args = {};
  args.flags = CLONE_FILES;
  args.exit_signal = SIGCHLD;
  long child = TRY(call("clone3", [&] { return ::syscall(SYS_clone3, &args, sizeof(args)); }));
  if (child == 0) {
    *made = make_in(owner.get(), network, domain, type, protocol);
    exit_now(0);
  }
  TRY(wait_pid(static_cast<pid_t>(child)));
  if (*made < 0) return os_error("a socket in another network namespace", -*made);
  return UniqueFd(*made);
}

Result<> add_loopback_address(int network, const InetAddress& address) {
  InetAddress plain = address.unmapped();
  size_t size = plain.v6 ? 16 : 4;
  struct {
    nlmsghdr header;
    ifaddrmsg address;
    rtattr attribute;
    std::array<uint8_t, 16> host;
  } ask{};
  static_assert(sizeof(ask) == NLMSG_LENGTH(sizeof(ifaddrmsg)) + RTA_LENGTH(16));
  ask.header = {.nlmsg_len = static_cast<uint32_t>(NLMSG_LENGTH(sizeof(ifaddrmsg)) + RTA_LENGTH(size)),
                .nlmsg_type = RTM_NEWADDR,
                .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                .nlmsg_seq = 1,
                .nlmsg_pid = 0};
  ask.address.ifa_family = plain.v6 ? AF_INET6 : AF_INET;
  ask.address.ifa_prefixlen = static_cast<uint8_t>(8 * size);
  ask.address.ifa_flags = plain.v6 ? IFA_F_NODAD : 0;
  ask.address.ifa_index = kLoopback;
  ask.attribute = {.rta_len = static_cast<unsigned short>(RTA_LENGTH(size)), .rta_type = IFA_LOCAL};
  ask.host = plain.host;
  UniqueFd netlink = TRY(socket_in(network, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  TRY(call("send", [&] { return ::send(netlink.get(), &ask, ask.header.nlmsg_len, 0); }).in("RTM_NEWADDR"));
  struct {
    nlmsghdr header;
    nlmsgerr error;
  } answer{};
  TRY(call("recv", [&] { return ::recv(netlink.get(), &answer, sizeof(answer), 0); }).in("RTM_NEWADDR"));
  int code = answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
  return code == 0 || code == EEXIST ? Result<>() : os_error("RTM_NEWADDR", code);
}

Result<std::optional<UniqueFd>> foreign_network(int socket, Pid process) {
  Result<long> network = call("SIOCGSKNS", [&] { return ::ioctl(socket, SIOCGSKNS); });
  // ENOTTY: a kernel without network namespaces.
  if (!network.has_value() && (network.error().os_errno() == EPERM || network.error().os_errno() == ENOTTY))
    return std::optional<UniqueFd>();
  UniqueFd its(static_cast<int>(TRY(std::move(network))));
  struct stat seen = TRY(fstat(its.get())), usual = TRY(stat(proc_path(process, "ns/net")));
  if (seen.st_ino == usual.st_ino) return std::optional<UniqueFd>();
  return std::optional(std::move(its));
}

}  // namespace stint::sys
