// What is refused, by name, with what the user can do about it. A descriptor that nobody has heard of is refused too.
#include <fcntl.h>
#include <sys/socket.h>

#include "fd/kind.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

struct Refused {
  std::string_view prefix;  // of the link
  const char* why;
  const char* remedy;
};

constexpr const char* kClose = "close it before the checkpoint";

constexpr Refused kByLink[] = {
    {"anon_inode:[fanotify]", "fanotify groups need privilege and cannot be made again", kClose},
    {"anon_inode:[io_uring]", "io_uring cannot be made again yet",
     "tell the program to use epoll or plain reads (UV_USE_IO_URING=0 for node)"},
    {"anon_inode:[perf_event]", "performance counters cannot be made again", "run it without profiling"},
    {"anon_inode:bpf", "BPF objects live in the kernel and cannot be made again", kClose},
    {"anon_inode:btf", "BPF objects live in the kernel and cannot be made again", kClose},
    {"anon_inode:[userfaultfd]", "the faults that it serves cannot be made again", "run it without userfaultfd"},
    {"anon_inode:[landlock-ruleset]", "a Landlock rule set cannot be read back",
     "apply the rules (and close it) first"},
    {"anon_inode:seccomp notify", "a seccomp listener cannot be made again", kClose},
    {"anon_inode:kvm", "virtual machines live in the kernel", "checkpoint the machine from within its own monitor"},
    {"anon_inode:[fscontext]", "a mount in the making cannot be made again", kClose},
    {"anon_inode:dma-buf", "device buffers cannot be made again", kClose},
    {"/dmabuf:", "device buffers cannot be made again", kClose},
    {"/secretmem", "secret memory cannot be read by anybody else", "run it without memfd_secret"},
    {"net:[", "a namespace lives as long as somebody uses it", kClose},
    {"mnt:[", "a namespace lives as long as somebody uses it", kClose},
    {"pid:[", "a namespace lives as long as somebody uses it", kClose},
    {"user:[", "a namespace lives as long as somebody uses it", kClose},
    {"uts:[", "a namespace lives as long as somebody uses it", kClose},
    {"ipc:[", "a namespace lives as long as somebody uses it", kClose},
    {"time:[", "a namespace lives as long as somebody uses it", kClose},
    {"cgroup:[", "a namespace lives as long as somebody uses it", kClose},
};

Error refuse_socket(const Facts& facts) {
  Result<int> domain = sys::socket_option(facts.ours.get(), SO_DOMAIN);
  Result<int> type = sys::socket_option(facts.ours.get(), SO_TYPE);
  if (!domain.has_value() || !type.has_value())
    return refusal(facts, "a socket that cannot be asked what it is", kClose);
  switch (*domain) {
    case AF_INET:
    case AF_INET6:
      if (*type == SOCK_STREAM) return refusal(facts, "only TCP is kept, not MPTCP, SCTP or SMC", kClose);
      if (*type == SOCK_DGRAM) return refusal(facts, "only UDP is kept, not UDP-Lite, ping (ICMP) or L2TP", kClose);
      return refusal(facts, "raw sockets cannot be made again", kClose);
    case AF_PACKET:
      return refusal(facts, "packet sockets need privilege and cannot be made again", kClose);
    case AF_VSOCK:
      return refusal(facts, "a vsock socket leads to another machine", kClose);
    default:
      return refusal(facts, "sockets of address family " + std::to_string(*domain) + " cannot be made again", kClose);
  }
}

}  // namespace

Error refuse_unknown(const Facts& facts) {
  for (const Refused& known : kByLink)
    if (facts.link.starts_with(known.prefix)) return refusal(facts, known.why, known.remedy);
  if (S_ISSOCK(facts.stat.st_mode)) return refuse_socket(facts);
  if (S_ISBLK(facts.stat.st_mode)) return refusal(facts, "block devices are not kept", kClose);
  if (S_ISCHR(facts.stat.st_mode))
    return refusal(facts,
                   "this device may hold state that the kernel does not show; only null, zero, full, random, "
                   "urandom and the job's own terminal are kept",
                   kClose);
  if (S_ISREG(facts.stat.st_mode))
    return refusal(facts,
                   "a file of a file system of the kernel with state of its own (message queues, debugfs, tracefs ...)",
                   kClose);
  return refusal(facts, "a kind of descriptor that stint does not know", kClose);
}

}  // namespace stint::fd
