// The user's terminal while a job has a terminal of its own. The job's processes are in another session, which can
// never have the user's terminal as its controlling one: so they get a pty, and bytes, size and job control are carried
// over. The user's terminal is raw meanwhile, and only while we are in its foreground; it gets its modes back whenever
// we stop or end. While we are in the background nothing is read: the keys belong to somebody else.
#pragma once

#include <poll.h>

#include <array>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"
#include "sys/terminal.h"

namespace stint::job {

class TerminalRelay {
 public:
  // Works on a descriptor of our own for the terminal behind `fd`, so that it can be nonblocking without the shell
  // noticing. Where it may not be opened again (after su), on `fd` itself.
  static Result<TerminalRelay> open(int fd);
  TerminalRelay(TerminalRelay&&) = default;
  ~TerminalRelay() { give_back(); }

  // What the job's terminal starts with.
  const termios& modes() const { return modes_; }
  winsize size() const { return size_; }

  // The master of the job's terminal, nonblocking; stays the caller's.
  void connect(int master) { master_ = master; }

  // Raw mode, if we are in the foreground; to be called again after every stop and now and then in the background.
  void take();
  // The modes that it had.
  void give_back();
  bool in_foreground() const { return taken_; }

  // After SIGWINCH.
  void follow_size();

  // What to wait for, and what to do when it is there.
  std::array<pollfd, 2> watched() const;
  void relay(const std::array<pollfd, 2>& ready);

  // Hands over all that the job has written so far; waits for a slow terminal, not for the job.
  void drain();

 private:
  TerminalRelay() = default;

  // Bytes on their way in one direction.
  struct Queue {
    Bytes bytes;
    size_t sent = 0;
    bool empty() const { return sent == bytes.size(); }
    bool full() const { return bytes.size() - sent >= kMost; }
    static constexpr size_t kMost = 64 << 10;
  };
  // True when something came.
  static bool fill(Queue& queue, int from, bool& open);
  static void empty_into(Queue& queue, int to, bool& open);

  sys::UniqueFd own_;
  int user_ = -1;
  int master_ = -1;
  termios modes_ = {};
  winsize size_ = {};
  bool taken_ = false;
  bool user_readable_ = true, user_writable_ = true;
  bool job_open_ = true;
  Queue keys_, output_;
};

}  // namespace stint::job
