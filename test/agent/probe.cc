// What the agent's tests let a program do. The first argument says what; the program checks its own side and exits 0 if
// everything went as it should without an agent too.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
  _exit(1);
}

int wait_for(pid_t child) {
  int status = -1;
  require(waitpid(child, &status, 0) == child, "waitpid");
  return status;
}

void names(char** files) {
  require(open(files[0], O_RDONLY) == 3, "open");
  require(openat(AT_FDCWD, files[0], O_RDONLY) == 4, "openat");
  int directory = open(".", O_RDONLY | O_DIRECTORY);
  require(openat(directory, files[0], O_RDONLY) == 6, "openat of a directory");
  require(fileno(fopen(files[0], "r")) == 7, "fopen");
  require(creat("made", 0600) == 8, "creat");
  errno = 0;
  require(open("/does/not/exist", O_RDONLY) == -1 && errno == ENOENT, "errno of a failed open");
}

void duplicates(char** files) {
  require(open(files[0], O_RDONLY) == 3, "open");
  require(dup(3) == 4, "dup");
  require(dup2(4, 20) == 20, "dup2");
  require(dup3(20, 21, O_CLOEXEC) == 21, "dup3");
  require(fcntl(21, F_DUPFD, 30) == 30, "F_DUPFD");
  require(fcntl(3, F_DUPFD_CLOEXEC, 31) == 31, "F_DUPFD_CLOEXEC");
  int ends[2];
  require(pipe(ends) == 0 && dup2(ends[0], 40) == 40, "dup2 of a pipe");
}

void plugin(char** arguments, int flags) {
  void* object = dlopen(arguments[0], RTLD_NOW | flags);
  if (object == nullptr) fprintf(stderr, "%s\n", dlerror());
  require(object != nullptr, "dlopen");
  auto open_in_plugin = reinterpret_cast<int (*)(const char*)>(dlsym(object, "plugin_open"));
  require(open_in_plugin(arguments[1]) == 3, "plugin_open");
  if (arguments[2] != nullptr) require(dlclose(object) == 0, "dlclose");
  raise(SIGSTOP);  // for whoever wants to look
}

void by_dlsym(char** files) {
  auto found = reinterpret_cast<int (*)(const char*, int)>(dlsym(RTLD_DEFAULT, "open"));
  require(found(files[0], O_RDONLY) == 3, "open by dlsym");
  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  auto of_libc = reinterpret_cast<int (*)(const char*, int)>(dlsym(libc, "open"));
  require(of_libc(files[0], O_RDONLY) == 4, "open by dlsym on libc");
  int (*volatile pointer)(const char*, int, ...) = open;
  require(pointer(files[0], O_RDONLY) == 5, "open by a pointer");
}

void threads() {
  std::vector<std::thread> all;
  for (int number = 0; number < 8; ++number) {
    all.emplace_back([number] {
      for (int i = 0; i < 50; ++i) {
        std::string name = "thread-" + std::to_string(number) + "-" + std::to_string(i);
        int fd = open(name.c_str(), O_RDWR | O_CREAT, 0600);
        require(fd >= 0 && write(fd, name.data(), name.size()) == ssize_t(name.size()), "open in a thread");
      }
    });
  }
  for (std::thread& thread : all) thread.join();
  // The name that stands for each descriptor is the one in the file.
  fflush(stdout);
  for (int fd = 3; fd < 403; ++fd) {
    char name[64] = {};
    require(pread(fd, name, sizeof name - 1, 0) > 0, "pread");
    printf("%d %s\n", fd, name);
  }
}

// Keeps the first file open while it opens and closes very many others.
void many(char** files) {
  require(open(files[0], O_RDONLY) == 3, "open");
  for (int i = 0; i < 200'000; ++i) {
    std::string name = std::string(1 + i % 200, '/') + "dev/null";
    int fd = open(name.c_str(), O_RDONLY);
    require(fd == 4 && close(fd) == 0, "open again");
  }
}

// Threads open files, each under names of its own, until the alarm clock ends the program, in the middle of whatever it
// does.
void cut_off(char** microseconds) {
  itimerval alarm{{0, 0}, {0, atoi(microseconds[0])}};
  require(setitimer(ITIMER_REAL, &alarm, nullptr) == 0, "setitimer");
  std::vector<std::thread> all;
  for (int number = 0; number < 4; ++number) {
    all.emplace_back([number] {
      for (unsigned i = 0;; ++i) {
        std::string name = std::string(1 + i % 50, '/') + "dev/null";
        int fd = open(name.c_str(), O_RDONLY);
        int copy = dup(fd);
        if (i % 3 != 0) close(fd);
        if (copy > 300) close(copy);
        if (number == 0 && fd > 200) dup2(0, fd);
      }
    });
  }
  for (std::thread& thread : all) thread.join();
}

void forked(char** files) {
  require(open(files[0], O_RDONLY) == 3, "open");
  pid_t child = fork();
  if (child == 0) {
    require(dup(3) == 4, "dup in the child");
    pid_t grandchild = static_cast<pid_t>(syscall(SYS_fork));
    if (grandchild == 0) {
      require(dup(4) == 5, "dup in the grandchild");
      printf("grandchild %d\n", getpid());
      fflush(stdout);
      _exit(0);
    }
    require(wait_for(grandchild) == 0, "grandchild");
    _exit(0);
  }
  printf("child %d\n", child);
  fflush(stdout);
  require(open("/dev/null", O_RDONLY) == 4, "open in the parent");
  require(wait_for(child) == 0, "child");
}

void in_vfork(char** files) {
  require(open(files[0], O_RDONLY) == 3, "open");
  pid_t child = vfork();
  if (child == 0) {
    dup2(3, 50);
    execl(files[1], files[1], files[0], static_cast<char*>(nullptr));
    _exit(127);
  }
  printf("child %d\n", child);
  require(wait_for(child) == 0, "child");
  require(dup2(3, 60) == 60, "dup2 afterwards");
}

[[noreturn]] void exec_by(const std::string& how, char* program, char* file) {
  char* arguments[] = {program, file, nullptr};
  char own[] = "OWN=1";
  char* clean[] = {own, nullptr};
  if (how == "execve") execve(program, arguments, environ);
  if (how == "execve-clean") execve(program, arguments, clean);
  if (how == "execve-null") execve(program, arguments, nullptr);
  if (how == "execv") execv(program, arguments);
  if (how == "execvp") execvp(program, arguments);
  if (how == "execvpe") execvpe(program, arguments, environ);
  if (how == "execl") execl(program, program, file, static_cast<char*>(nullptr));
  if (how == "execlp") execlp(program, program, file, static_cast<char*>(nullptr));
  if (how == "execle") execle(program, program, file, static_cast<char*>(nullptr), clean);
  if (how == "fexecve") fexecve(open(program, O_RDONLY), arguments, environ);
  if (how == "execveat") execveat(AT_FDCWD, program, arguments, environ, 0);
  require(false, how.c_str());
  _exit(1);
}

// HOW PROGRAM FILE: lets another program open the file, in a child.
void start_by(char** arguments) {
  std::string how = arguments[0];
  char* program = arguments[1];
  char* list[] = {program, arguments[2], nullptr};
  pid_t child = 0;
  if (how == "system" || how == "popen") {
    std::string command = std::string("exec ") + program + " " + arguments[2];
    if (how == "system") {
      require(system(command.c_str()) == 0, "system");
    } else {
      FILE* stream = popen(command.c_str(), "r");
      require(stream != nullptr && pclose(stream) == 0, "popen");
    }
    require(getenv("LD_PRELOAD") == nullptr, "environment afterwards");
    return;
  }
  if (how == "posix_spawn") {
    require(posix_spawn(&child, program, nullptr, nullptr, list, environ) == 0, "posix_spawn");
  } else if (how == "posix_spawnp") {
    require(posix_spawnp(&child, program, nullptr, nullptr, list, environ) == 0, "posix_spawnp");
  } else {
    child = fork();
    if (child == 0) exec_by(how, program, arguments[2]);
  }
  require(wait_for(child) == 0, "child");
}

// Where libc says the auxiliary vector is, and where one finds it by walking past the environment.
void auxiliary_vector() {
  char** end = environ;
  while (*end != nullptr) ++end;
  for (ElfW(auxv_t)* entry = reinterpret_cast<ElfW(auxv_t)*>(end + 1); entry->a_type != AT_NULL; ++entry) {
    if (entry->a_type == AT_RANDOM) {
      require(entry->a_un.a_val == getauxval(AT_RANDOM), "AT_RANDOM");
      return;
    }
  }
  require(false, "the auxiliary vector behind the environment");
}

void print_environment() {
  for (char** variable = environ; *variable != nullptr; ++variable) puts(*variable);
}

void killed(char** files) {
  for (int i = 0; i < 100; ++i) require(open(files[0], O_RDONLY) >= 0, "open");
  kill(getpid(), SIGKILL);
}

}  // namespace

int main(int argc, char** argv) {
  std::string what = argc > 1 ? argv[1] : "";
  char** rest = argv + 2;
  if (what == "names")
    names(rest);
  else if (what == "duplicates")
    duplicates(rest);
  else if (what == "plugin")
    plugin(rest, 0);
  else if (what == "plugin-deepbind")
    plugin(rest, RTLD_DEEPBIND);
  else if (what == "dlsym")
    by_dlsym(rest);
  else if (what == "threads")
    threads();
  else if (what == "many")
    many(rest);
  else if (what == "cut-off")
    cut_off(rest);
  else if (what == "fork")
    forked(rest);
  else if (what == "vfork")
    in_vfork(rest);
  else if (what == "exec")
    exec_by(rest[0], rest[1], rest[2]);
  else if (what == "start")
    start_by(rest);
  else if (what == "auxv")
    auxiliary_vector();
  else if (what == "environ")
    print_environment();
  else if (what == "killed")
    killed(rest);
  else
    require(false, "no such thing");
  return 0;
}
