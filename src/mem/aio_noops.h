// Requests that are done as soon as they are submitted, made in a context of asynchronous I/O in another process: each
// takes one of the requests that the context has, and leaves one event in its ring.
#pragma once

#include "tracee/table.h"

namespace stint::mem {

// One table of them. The requests read from an eventfd that is open in the process while the table runs.
class AioNoops {
 public:
  struct Target {
    uint64_t context;   // its id
    uint64_t data = 0;  // what their events say
  };
  // `affinity`: the thread's, which is put back at the end.
  static Result<AioNoops> prepare(tracee::StoppedProcess& process, tracee::Hands& hands, Target target, Bytes affinity);

  // What comes next is done on this processor, if the thread may use it.
  void go_to(uint32_t cpu);
  // At most so many: as many as the context has left. A number for submitted().
  size_t submit(uint64_t count);
  // Takes so many events, if they are there, of whatever request.
  void take_events(uint64_t count);

  Result<> run();

  uint64_t submitted(size_t group) const;
  uint64_t submitted() const;
  // What an event of one of them shows as its request.
  uint64_t request() const { return request_; }

 private:
  AioNoops(tracee::StoppedProcess& process, tracee::Hands& hands, Target target, RemoteFd descriptor, Bytes affinity);

  tracee::StoppedProcess& process_;
  tracee::Hands& hands_;
  uint64_t context_;
  RemoteFd descriptor_;
  Bytes affinity_;
  tracee::Table table_;
  uint64_t request_, pointers_, events_, cpu_masks_;
  bool moved_ = false;
  std::vector<std::vector<size_t>> groups_;  // of indices of calls
};

}  // namespace stint::mem
