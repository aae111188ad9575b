// For tests of kinds: a program of a few lines is stopped, captured, killed, and put back into another process. The
// program has no descriptors but those that it makes, from 0 on.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <string>

#include "fd/table.h"
#include "image/memory_stream.h"

// In what runs after the restart: says what does not hold.
#define HOLDS(...) \
  if (!(__VA_ARGS__)) return std::string(#__VA_ARGS__) + (errno != 0 ? std::string(": ") + strerror(errno) : "")

namespace stint::fd {

// Files and shared memory stay as they are between capture and restore: the registries only hold on to them.
class HeldFiles final : public FileRegistry, public SharedMemoryRegistry {
 public:
  Result<uint64_t> note(int fd, const struct stat& stat, std::string_view path, bool unlinked, bool written) override {
    names[stat.st_ino] = {std::string(path), unlinked, written};
    hold(held, fd, stat.st_ino, O_RDONLY);
    return stat.st_ino;
  }
  Result<uint64_t> note(int fd, const struct stat& stat, std::string_view) override {
    hold(memory, fd, stat.st_ino, O_RDWR);
    return stat.st_ino;
  }
  ~HeldFiles() override {
    for (auto& [id, fd] : held) ::close(fd);
    for (auto& [id, fd] : memory) ::close(fd);
  }
  struct Name {
    std::string path;
    bool unlinked, written;
  };
  std::map<uint64_t, Name> names;
  std::map<uint64_t, int> held, memory;

 private:
  // A description of our own: with a duplicate of the program's, its locks would outlive it.
  static void hold(std::map<uint64_t, int>& in, int fd, uint64_t inode, int flags) {
    if (in.contains(inode)) return;
    int opened = ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), flags | O_CLOEXEC);
    in[inode] = ::fcntl(opened, F_DUPFD_CLOEXEC, 500);
    ::close(opened);
  }
};

// A forked program, stopped where `make` ends. Killed when it goes out of scope.
class StoppedProgram {
 public:
  // `input`: a descriptor of ours that the program gets as its standard input; -1 for none.
  explicit StoppedProgram(const std::function<bool()>& make, int input = -1) : pid_(::fork()) {
    if (pid_ == 0) {
      if (input >= 0) ::dup2(input, 0);
      ::syscall(SYS_close_range, input >= 0 ? 1 : 0, ~0u, 0);
      if (!make()) ::_exit(1);
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(pid_, &status, WUNTRACED);
    stopped_ = WIFSTOPPED(status);
  }
  StoppedProgram(const StoppedProgram&) = delete;
  ~StoppedProgram() {
    if (!stopped_) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  bool stopped() const { return stopped_; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
  bool stopped_ = false;
};

inline void write_file(const char* path, const std::string& text) {
  int fd = ::open(path, O_WRONLY);
  if (::write(fd, text.data(), text.size()) < 0) ::_exit(2);
  ::close(fd);
}

// As the maker of a job does: there an ordinary user may choose the numbers of processes. Root may anyway.
inline void enter_own_namespaces() {
  uid_t user = ::geteuid();
  gid_t group = ::getegid();
  if (user == 0) return;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) != 0) ::_exit(2);
  write_file("/proc/self/setgroups", "deny");
  write_file("/proc/self/uid_map", std::to_string(user) + " " + std::to_string(user) + " 1");
  write_file("/proc/self/gid_map", std::to_string(group) + " " + std::to_string(group) + " 1");
  pid_t inner = ::fork();
  if (inner == 0) return;
  int status = 0;
  ::waitpid(inner, &status, 0);
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
}

struct Trip {
  image::MemoryStream stream;
  HeldFiles files;
  std::vector<OutsideStream> outside_streams;
  std::vector<std::string> names;
  std::function<void(RestoreContext&)> prepare;
  int input = -1;
  bool close_external = false;
  std::vector<image::ClosedEndRecord> closed;
  pid_t pid = 0;

  Result<> capture(const std::function<bool()>& make) {
    StoppedProgram program(make, input);
    if (!program.stopped()) return failed("the program could not make its descriptors");
    pid = program.pid();
    std::vector<std::vector<Facts>> processes;
    processes.push_back(TRY(look(Pid{pid}, JobPid{pid})));
    CaptureContext context{.sink = stream, .files = files, .shared_memory = files};
    context.outside_streams = outside_streams;
    context.names = names;
    context.close_external = close_external;
    context.job_number = [](int number) { return number == ::getpid() ? number : 0; };
    Result<> captured = capture_descriptors(processes, context);
    closed = std::move(context.closed);
    return captured;
  }

  // This process becomes the one: what the maker makes, brought to its numbers, and all else closed but `keep`.
  Result<> restore(int keep) {
    RestoreContext context{.source = stream};
    context.maker = JobPid{pid};
    context.shared_memory = files.memory;
    context.open_file = [this](uint64_t id, int flags) -> Result<sys::UniqueFd> {
      std::string path =
          files.names.at(id).unlinked ? "/proc/self/fd/" + std::to_string(files.held.at(id)) : files.names.at(id).path;
      sys::UniqueFd opened(::open(path.c_str(), flags | O_CLOEXEC));
      if (!opened.valid()) return os_error("open");
      return opened;
    };
    if (prepare) prepare(context);
    Tables tables = TRY(read_tables(stream));
    std::map<uint64_t, int> made = TRY(make_descriptions(stream, context, tables, keep + 1));
    std::set<int> stay{keep};
    for (const image::DescriptorRecord& descriptor : tables[pid]) {
      ::dup3(made.at(descriptor.description), descriptor.fd, descriptor.close_on_exec ? O_CLOEXEC : 0);
      stay.insert(descriptor.fd);
    }
    for (int number = 0; number < keep; ++number)
      if (!stay.contains(number)) ::close(number);
    ::syscall(SYS_close_range, keep + 1, ~0u, 0);
    for (const image::DescriptorRecord& descriptor : tables[pid])
      for (const image::FileLock& lock : descriptor.locks)
        if (lock.kind == image::FileLock::Kind::kPosix) TRY(take_lock(descriptor.fd, lock));
    return settle(tables[pid]);
  }

  Result<> settle(const std::vector<image::DescriptorRecord>& table) {
    auto number_of = [&](uint64_t id) {
      for (const image::DescriptorRecord& descriptor : table)
        if (descriptor.description == id) return descriptor.fd;
      return -1;
    };
    LastLook job{"", [&](uint64_t id) { return Result<sys::UniqueFd>(sys::UniqueFd(::dup(number_of(id)))); }};
    for (const image::Record& record : stream.records()) {
      const Kind* kind = kind_of(record.type);
      if (kind == nullptr || kind->settle == nullptr) continue;
      image::Description description;
      image::Decoder decoder(ByteView(record.payload).first(image::Description::kEncodedSize));
      description.fields(decoder);
      TRY(kind->settle(record.payload, number_of(description.id), job));
    }
    return {};
  }

  // What `verify` found wrong in the restored process; empty when it could not tell the difference.
  std::string verify(const std::function<std::string()>& check) {
    int report[2];
    if (::pipe2(report, O_CLOEXEC) != 0) return "pipe2";
    pid_t child = ::fork();
    if (child == 0) {
      enter_own_namespaces();
      int keep = ::fcntl(report[1], F_DUPFD_CLOEXEC, 900);
      Result<> restored = restore(keep);
      errno = 0;
      std::string wrong = restored.has_value() ? check() : restored.error().text();
      [[maybe_unused]] ssize_t written = ::write(keep, wrong.data(), wrong.size());
      ::_exit(0);
    }
    ::close(report[1]);
    std::string wrong;
    char buffer[512];
    for (ssize_t got; (got = ::read(report[0], buffer, sizeof(buffer))) > 0;) wrong.append(buffer, got);
    ::close(report[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) wrong += " the restored process ended before it could say";
    return wrong;
  }
};

// There and back. Gives what is wrong.
inline std::string round_trip(const std::function<bool()>& make, const std::function<std::string()>& check) {
  Trip trip;
  Result<> captured = trip.capture(make);
  if (!captured.has_value()) return captured.error().text();
  return trip.verify(check);
}

// What is said when it is refused.
inline std::string refused_because(const std::function<bool()>& make) {
  Trip trip;
  Result<> captured = trip.capture(make);
  if (captured.has_value()) return "(not refused)";
  ErrorKind kind = captured.error().kind();
  bool refused = kind == ErrorKind::kRefused || kind == ErrorKind::kNotNow;
  return (refused ? "" : "(failed) ") + captured.error().text();
}

inline std::string read_now(int fd, size_t size) {
  std::string text(size, '\0');
  ssize_t got = ::read(fd, text.data(), size);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return text;
}

inline bool at_end(int fd) {
  char byte;
  return ::read(fd, &byte, 1) == 0;
}

inline bool write_text(int fd, std::string_view text) {
  return ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace stint::fd
