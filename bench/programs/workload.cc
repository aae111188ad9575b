// The programs that bench/run measures, native and under stint, and what this machine itself reaches:
//
//   workload cpu                  a loop of arithmetic; prints its nanoseconds
//   workload read                 a loop of read(2) of one byte; prints its nanoseconds
//   workload nap                  sleeps 0.2 ms at a time; prints a dot after a gap of more than 30 ms: it was cut
//   workload random MiB 4k|huge   fills so much memory with random bytes, prints a dot, and goes on as `nap`
//   workload rewrite MiB 4k|huge PERCENT
//                                 the same, and goes on to write to so much of it in a second, a byte in each page
//   workload processes|threads|descriptors N
//                                 has so many of them, idle; prints a dot, and goes on as `nap`
//   workload memcpy|write|fill MiB DIRECTORY
//                                 the machine's own rates: memcpy; write(2) of 1 MiB pieces into a fresh file;
//                                 preadv(2) of that file into fresh huge pages. Prints nanoseconds.
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

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

[[noreturn]] void say_and_nap() {
  if (write(STDOUT_FILENO, ".", 1) != 1) std::exit(1);
  nap();
}

[[noreturn]] void rewrite(char* memory, size_t size, double percent) {
  constexpr size_t kPage = 4096;
  constexpr int64_t kSecond_ns = 1'000'000'000;
  if (write(STDOUT_FILENO, ".", 1) != 1) std::exit(1);
  double pages_a_ns = static_cast<double>(size) / kPage * percent / 100 / kSecond_ns;
  uint64_t state = 88172645463325252ull;
  for (int64_t start = now(CLOCK_MONOTONIC), done = 0;;) {
    usleep(500);
    int64_t due = static_cast<int64_t>(static_cast<double>(now(CLOCK_MONOTONIC) - start) * pages_a_ns);
    for (; done < due; ++done) memory[next_random(state) % size] += 1;
  }
}

[[noreturn]] void have_processes(size_t count) {
  for (size_t i = 1; i < count; ++i) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child != 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  say_and_nap();
}

[[noreturn]] void have_threads(size_t count) {
  for (size_t i = 1; i < count; ++i)
    std::thread([] {
      for (;;) pause();
    }).detach();
  say_and_nap();
}

// Files, both ends of pipes, eventfds: a quarter each.
[[noreturn]] void have_descriptors(size_t count, const char* file) {
  rlimit most;
  getrlimit(RLIMIT_NOFILE, &most);
  most.rlim_cur = most.rlim_max;
  setrlimit(RLIMIT_NOFILE, &most);
  for (size_t i = 0; i < count; i += 4) {
    int ends[2];
    if (open(file, O_RDONLY) < 0 || pipe(ends) != 0 || eventfd(static_cast<unsigned>(i), 0) < 0) die("descriptors");
  }
  say_and_nap();
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

// The loops never wait, so that processor time is their run time on a machine of their own; on a shared one it leaves
// out the turns of others.
template <class Loop>
void timed(Loop loop) {
  int64_t start = now(CLOCK_PROCESS_CPUTIME_ID);
  loop();
  std::printf("%lld\n", static_cast<long long>(now(CLOCK_PROCESS_CPUTIME_ID) - start));
}

}  // namespace

int main(int argc, char** argv) {
  std::string what = argc > 1 ? argv[1] : "";
  size_t number = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0, size = number << 20;
  if (what == "cpu")
    timed(cpu);
  else if (what == "read")
    timed(read_bytes);
  else if (what == "nap")
    nap();
  else if (what == "random" && argc == 4) {
    fill_random(map(size, std::string(argv[3]) == "huge"), size);
    say_and_nap();
  } else if (what == "rewrite" && argc == 5) {
    char* memory = map(size, std::string(argv[3]) == "huge");
    fill_random(memory, size);
    rewrite(memory, size, std::strtod(argv[4], nullptr));
  } else if (what == "processes" && argc == 3)
    have_processes(number);
  else if (what == "threads" && argc == 3)
    have_threads(number);
  else if (what == "descriptors" && argc == 3)
    have_descriptors(number, argv[0]);
  else if (what == "memcpy" && argc == 4)
    copy_memory(size);
  else if (what == "write" && argc == 4)
    write_then_fill(size, argv[3], false);
  else if (what == "fill" && argc == 4)
    write_then_fill(size, argv[3], true);
  else
    return 2;
}
