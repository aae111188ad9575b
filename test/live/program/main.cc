// The main program of all live tests, and the program's half of the freeze point.
//
// The protocol is files in the directory $LIVE_DIR, made by mknod(2) and looked at by access(2), so that no descriptor
// is ever in use: where `freeze-N` or `freeze-every` exists, freeze point N makes `at-N` and waits until there is
// `go-N`. At the end the run leaves `points-N`, the number of freeze points that it came by.
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "test/live/program/live.h"

namespace live {
namespace {

constexpr int kPassed = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kSkipped = 77;
constexpr int kMillisecondsUntilGo = 120'000;

Test* tests = nullptr;
char directory[PATH_MAX / 2];
bool repeating = false;
std::atomic<int> points = 0;

void pause_for_milliseconds(long milliseconds) {
  timespec time = {milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR) {
  }
}

struct Path {
  char text[PATH_MAX];
  Path(const char* what, int number) { snprintf(text, sizeof text, "%s/%s-%d", directory, what, number); }
  explicit Path(const char* name) { snprintf(text, sizeof text, "%s/%s", directory, name); }
  bool exists() const { return access(text, F_OK) == 0; }
  void make() const {
    if (mknod(text, S_IFREG | 0600, 0) != 0 && errno != EEXIST) fail_call(__FILE__, __LINE__, text);
  }
};

double monotonic_seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void list() {
  for (const Test* test = tests; test != nullptr; test = test->next) {
    const char* needs[] = {"", " terminal", " streams", " rollback", " refusal"};
    printf("%s%s\n", test->name, needs[static_cast<int>(test->needs)]);
  }
}

int run(const Test& test, double seconds) {
  if (seconds == 0) {
    test.body();
  } else {
    repeating = true;
    const double end = monotonic_seconds() + seconds;
    while (monotonic_seconds() < end) test.body();
  }
  fflush(stdout);
  if (directory[0] != '\0') Path("points", points).make();
  return kPassed;
}

}  // namespace

Registration::Registration(const char* name, Needs needs, void (*body)()) : test_{name, needs, body, tests} {
  tests = &test_;
}

void freeze_point() {
  if (repeating) return pause_for_milliseconds(5);
  const int number = ++points;
  if (directory[0] == '\0') return;
  if (!Path("freeze", number).exists() && !Path("freeze-every").exists()) return;
  Path("at", number).make();
  const Path go("go", number);
  for (int waited = 0; waited < kMillisecondsUntilGo; waited += 2) {
    if (go.exists()) return;
    pause_for_milliseconds(2);
  }
  fail(__FILE__, __LINE__, std::string("nobody made ") + go.text);
}

void fail(const char* file, int line, const std::string& what) {
  dprintf(STDERR_FILENO, "%s:%d: %s\n", file, line, what.c_str());
  _exit(kFailed);
}

void fail_call(const char* file, int line, const char* call) {
  const std::string reason = strerror(errno);
  fail(file, line, std::string(call) + ": " + reason);
}

void skip(const std::string& reason) {
  dprintf(STDERR_FILENO, "skipped: %s\n", reason.c_str());
  _exit(kSkipped);
}

Scratch::Scratch() {
  path_ = (directory[0] != '\0' ? std::string(directory) : std::string("/tmp")) + "/live-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) fail_call(__FILE__, __LINE__, path_.c_str());
}

Scratch::~Scratch() {
  nftw(
      path_.c_str(), [](const char* path, const struct stat*, int, FTW*) { return remove(path); }, 8,
      FTW_DEPTH | FTW_PHYS);
}

}  // namespace live

int main(int argc, char** argv) {
  if (const char* live_dir = getenv("LIVE_DIR")) {
    snprintf(live::directory, sizeof live::directory, "%s", live_dir);
  }
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    live::list();
    return live::kPassed;
  }
  const bool repeat = argc == 4 && strcmp(argv[2], "--repeat") == 0;
  if (argc == 2 || repeat) {
    for (const live::Test* test = live::tests; test != nullptr; test = test->next) {
      if (strcmp(test->name, argv[1]) == 0) return live::run(*test, repeat ? atof(argv[3]) : 0);
    }
  }
  fprintf(stderr, "usage: stint_live --list | NAME [--repeat SECONDS]\n");
  return live::kUsage;
}
