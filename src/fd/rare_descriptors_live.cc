// Descriptors that lead to what only the kernel holds: each is refused by name, as long as it is open, and the program
// goes on with it. Which of them a user may have depends on the system; a test says so where it may not.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "test/live/program/descriptors.h"

namespace live {
namespace {

// What the call has made, or the end of the test with the reason why it has made nothing.
Fd made(long result, const char* what) {
  if (result < 0) skip(std::string(what) + ": " + strerror(errno));
  return Fd(static_cast<int>(result));
}

void expect_open(int fd) { EXPECT_OK(fcntl(fd, F_GETFD)); }

LIVE_TEST_THAT_NEEDS(fanotify_group_is_refused, Needs::kRefusal) {
  const Fd fd = made(fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY), "fanotify_init");
  freeze_point();
  expect_open(fd);
}

LIVE_TEST_THAT_NEEDS(userfaultfd_is_refused, Needs::kRefusal) {
  const Fd fd = made(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC), "userfaultfd");
  freeze_point();
  uffdio_api api = {.api = UFFD_API, .features = 0, .ioctls = 0};
  EXPECT_OK(ioctl(fd, UFFDIO_API, &api));
}

LIVE_TEST_THAT_NEEDS(perf_event_is_refused, Needs::kRefusal) {
  perf_event_attr attributes = {};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_TASK_CLOCK;
  attributes.exclude_kernel = 1;
  const Fd fd = made(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0), "perf_event_open");
  freeze_point();
  EXPECT_EQ(read_once(fd).size(), sizeof(uint64_t));
}

LIVE_TEST_THAT_NEEDS(bpf_map_is_refused, Needs::kRefusal) {
  bpf_attr attributes = {};
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = attributes.value_size = 4;
  attributes.max_entries = 1;
  const Fd fd = made(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes), "bpf");
  freeze_point();
  expect_open(fd);
}

LIVE_TEST_THAT_NEEDS(landlock_ruleset_is_refused, Needs::kRefusal) {
  landlock_ruleset_attr rules = {};
  rules.handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE;
  const Fd fd = made(syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0), "landlock_create_ruleset");
  freeze_point();
  expect_open(fd);
}

LIVE_TEST_THAT_NEEDS(io_uring_is_refused, Needs::kRefusal) {
  io_uring_params parameters = {};
  const Fd fd = made(syscall(SYS_io_uring_setup, 4, &parameters), "io_uring_setup");
  freeze_point();
  EXPECT_OK(syscall(SYS_io_uring_enter, static_cast<int>(fd), 0, 0, 0, nullptr, 0));
}

// The ring lives on in the mapping.
LIVE_TEST_THAT_NEEDS(io_uring_that_is_mapped_only_is_refused, Needs::kRefusal) {
  io_uring_params parameters = {};
  Fd fd = made(syscall(SYS_io_uring_setup, 4, &parameters), "io_uring_setup");
  void* ring = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
  EXPECT_NE(ring, MAP_FAILED);
  fd.reset();
  freeze_point();
  EXPECT_OK(munmap(ring, 4096));
}

LIVE_TEST_THAT_NEEDS(secret_memory_is_refused, Needs::kRefusal) {
  const Fd fd = made(syscall(SYS_memfd_secret, 0), "memfd_secret");
  freeze_point();
  expect_open(fd);
}

LIVE_TEST_THAT_NEEDS(secret_memory_that_is_mapped_only_is_refused, Needs::kRefusal) {
  Fd fd = made(syscall(SYS_memfd_secret, 0), "memfd_secret");
  EXPECT_OK(ftruncate(fd, 4096));
  char* memory = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  if (memory == MAP_FAILED) skip(std::string("mmap of memfd_secret: ") + strerror(errno));
  fd.reset();
  memory[0] = 's';
  freeze_point();
  EXPECT_EQ(memory[0], 's');
  EXPECT_OK(munmap(memory, 4096));
}

void expect_device_refused(const char* path) {
  const Fd fd = made(open(path, O_RDWR | O_CLOEXEC), path);
  freeze_point();
  expect_open(fd);
}

LIVE_TEST_THAT_NEEDS(fuse_connection_is_refused, Needs::kRefusal) { expect_device_refused("/dev/fuse"); }
LIVE_TEST_THAT_NEEDS(kvm_is_refused, Needs::kRefusal) { expect_device_refused("/dev/kvm"); }
LIVE_TEST_THAT_NEEDS(graphics_device_is_refused, Needs::kRefusal) { expect_device_refused("/dev/dri/renderD128"); }
LIVE_TEST_THAT_NEEDS(tunnel_device_is_refused, Needs::kRefusal) { expect_device_refused("/dev/net/tun"); }

void expect_socket_refused(int family, int type, int protocol, const char* what) {
  const Fd fd = made(socket(family, type, protocol), what);
  freeze_point();
  expect_open(fd);
}

LIVE_TEST_THAT_NEEDS(udp_lite_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, "UDP-Lite");
}
LIVE_TEST_THAT_NEEDS(ping_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_INET, SOCK_DGRAM, IPPROTO_ICMP, "ping socket (net.ipv4.ping_group_range)");
}
LIVE_TEST_THAT_NEEDS(raw_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_INET, SOCK_RAW, IPPROTO_ICMP, "raw socket");
}
LIVE_TEST_THAT_NEEDS(mptcp_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_INET, SOCK_STREAM, IPPROTO_MPTCP, "MPTCP");
}
LIVE_TEST_THAT_NEEDS(sctp_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP, "SCTP");
}
LIVE_TEST_THAT_NEEDS(packet_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_PACKET, SOCK_RAW, 0, "packet socket");
}
LIVE_TEST_THAT_NEEDS(vsock_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_VSOCK, SOCK_STREAM, 0, "vsock");
}
LIVE_TEST_THAT_NEEDS(crypto_socket_is_refused, Needs::kRefusal) {
  expect_socket_refused(AF_ALG, SOCK_SEQPACKET, 0, "AF_ALG");
}

}  // namespace
}  // namespace live
