// A process of ours inside the job's IPC namespace, for the time of a checkpoint: it is there before the job stands
// still. An ordinary user may enter it only together with the user namespace that it belongs to, and there is no way
// back; so it is a fork that enters, tells what it sees, and keeps the segments attached while we copy them out of its
// memory.
#pragma once

#include <set>
#include <string>

#include "base/remote.h"
#include "ipc/objects.h"
#include "sys/fd.h"

namespace stint::ipc {

// Whether the process is in another IPC namespace than we: a job that `stint run` has started.
Result<bool> has_own_namespace(Pid process);

// A job that shares its namespace with others: whether its processes (as we number them) were the last to do something
// with an object, which then cannot be kept. kRefused names it.
Result<> refuse_shared(const std::set<int>& pids);

class Visitor {
 public:
  // Enters the namespace of `process`, which may run.
  static Result<Visitor> enter(Pid process);
  // Everybody in the namespace is stopped, and `process` must still be in it. Once.
  Result<> look(Pid process);
  Visitor(Visitor&&) = default;
  ~Visitor();

  Objects& objects() { return objects_; }
  // Copies the content of all segments into the sink. Bytes copied.
  Result<uint64_t> save_segments(image::Sink& sink);

 private:
  struct Attached {
    uint64_t address = 0;
    std::vector<uint64_t> present;  // start, end pairs of offsets
    template <class A>
    void fields(A& a) {
      a("address", address), a("present", present);
    }
  };
  struct Report;
  Visitor() = default;
  Result<Report> ask();
  static Result<Report> visit(int queue_directory);
  [[noreturn]] static void main(Pid process, int socket, int report);

  Objects objects_;
  std::vector<Attached> attached_;
  std::string namespace_;  // as /proc/PID/ns/ipc has it
  sys::UniqueFd report_;
  sys::UniqueFd socket_;  // it ends when this is closed
  Pid pid_{};
};

}  // namespace stint::ipc
