// The programs that bench/run measures, native and under stint, and what this machine itself reaches:
//
//   workload cpu                  a loop of arithmetic; prints its nanoseconds
//   workload read                 a loop of read(2) of one byte; prints its nanoseconds
//   workload nap                  sleeps 0.2 ms at a time; prints a dot after a gap of more than 30 ms: it was cut
//   workload random MiB 4k|huge   fills so much memory with random bytes, prints a dot, and goes on as `nap`
//   workload memcpy|write|fill MiB DIRECTORY
//                                 the machine's own rates: memcpy; write(2) of 1 MiB pieces into a fresh file; preadv(2)
//                                 of that file into fresh huge pages. Prints nanoseconds.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr size_t kPiece = 1 << 20;
constexpr size_t kHugePage = 2 << 20;

int64_t now(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

uint64_t next_random(uint64_t& state) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

char* map(size_t size, bool huge) {
  void* all = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) die("mmap");
  uintptr_t start = (reinterpret_cast<uintptr_t>(all) + kHugePage - 1) & ~(kHugePage - 1);
  char* memory = reinterpret_cast<char*>(start);
  madvise(memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return memory;
}

void fill_random(char* memory, size_t size) {
  uint64_t state = 88172645463325252ull;
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    uint64_t value = next_random(state);
    std::memcpy(memory + at, &value, sizeof(value));
  }
}

[[noreturn]] void nap() {
  constexpr int64_t kGap_ns = 30'000'000;
  for (int64_t last = now(CLOCK_REALTIME);;) {
    usleep(200);
    int64_t time = now(CLOCK_REALTIME);
    if (time - last > kGap_ns && write(STDOUT_FILENO, ".", 1) != 1) std::exit(1);
    last = time;
  }
}

void cpu() {
  uint64_t state = 1, sum = 0;
  for (int i = 0; i < 60'000'000; ++i) sum += next_random(state);
  if (sum == 0) std::exit(1);
}

void read_bytes() {
  int fd = open("/dev/zero", O_RDONLY);
  char byte;
  for (int i = 0; i < 400'000; ++i)
    if (read(fd, &byte, 1) != 1) die("read");
}

void copy_memory(size_t size) {
  char* from = map(size, true);
  char* to = map(size, true);
  std::memset(from, 1, size);
  std::memset(to, 2, size);
  int64_t start = now(CLOCK_MONOTONIC);
  std::memcpy(to, from, size);
  std::printf("%lld\n", static_cast<long long>(now(CLOCK_MONOTONIC) - start));
  if (to[size - 1] != 1) std::exit(1);
}

// Both, one after the other: what the one has written the other reads.
void write_then_fill(size_t size, const std::string& directory, bool report_fill) {
  std::string path = directory + "/rate";
  char* piece = map(kPiece, true);
  fill_random(piece, kPiece);
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) die(path.c_str());
  int64_t start = now(CLOCK_MONOTONIC);
  for (size_t done = 0; done < size; done += kPiece)
    if (write(fd, piece, kPiece) != static_cast<ssize_t>(kPiece)) die("write");
  int64_t end = now(CLOCK_MONOTONIC);
  if (report_fill) {
    char* memory = map(size, true);
    start = now(CLOCK_MONOTONIC);
    for (size_t done = 0; done < size; done += kPiece) {
      iovec to{memory + done, kPiece};
      if (preadv(fd, &to, 1, static_cast<off_t>(done)) != static_cast<ssize_t>(kPiece)) die("preadv");
    }
    end = now(CLOCK_MONOTONIC);
  }
  std::printf("%lld\n", static_cast<long long>(end - start));
  unlink(path.c_str());
}

// The loops never wait, so that processor time is their run time on a machine of their own; on a shared one it leaves out
// the turns of others.
template <class Loop>
void timed(Loop loop) {
  int64_t start = now(CLOCK_PROCESS_CPUTIME_ID);
  loop();
  std::printf("%lld\n", static_cast<long long>(now(CLOCK_PROCESS_CPUTIME_ID) - start));
}

}  // namespace

int main(int argc, char** argv) {
  std::string what = argc > 1 ? argv[1] : "";
  size_t size = argc > 2 ? std::strtoull(argv[2], nullptr, 10) << 20 : 0;
  if (what == "cpu") timed(cpu);
  else if (what == "read") timed(read_bytes);
  else if (what == "nap") nap();
  else if (what == "random" && argc == 4) {
    fill_random(map(size, std::string(argv[3]) == "huge"), size);
    if (write(STDOUT_FILENO, ".", 1) != 1) return 1;
    nap();
  } else if (what == "memcpy" && argc == 4) copy_memory(size);
  else if (what == "write" && argc == 4) write_then_fill(size, argv[3], false);
  else if (what == "fill" && argc == 4) write_then_fill(size, argv[3], true);
  else return 2;
}
