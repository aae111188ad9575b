// Our hands in another process: system calls made *in* it, by the table-runner, one table at a time. Serves capture
// (what only the process itself may ask the kernel) and restore (what only it may set).
//
// The runner needs a little code and memory inside. A program with the agent lends both; in any other, and where
// threads are to go on in it, an area is mapped for as long as these hands exist. If we are killed meanwhile, the
// runner gives the thread back to its program by itself.
#pragma once

#include <sys/mman.h>

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "abi/runner.h"
#include "sys/fd.h"
#include "tracee/entrance.h"

namespace stint::tracee {

class Hands {
 public:
  // The most calls that one table holds; run() cuts longer lists into tables.
  static constexpr size_t kTableCalls = 256;
  // Bytes of an area that out-parameters of calls may use.
  static constexpr uint64_t kScratchSize = 64 << 10;
  // What an area must have at least; what lies behind belongs to frames that outlive these hands (resume_slot).
  static constexpr uint64_t kWorkSize = kScratchSize + (32 << 10);
  static constexpr uint64_t kResumeSlotSize = 2048;

  // Uses memory that the agent lends. Nothing of it may be left to a thread (resume_slot).
  static Hands in_area(StoppedProcess& process, Area area);
  // Maps an area into the process; or takes the one that an earlier checkpoint had to leave there (left_areas), which
  // may not be in use any more when the first table runs. It is unmapped through the same entrance.
  static Result<Hands> map_area(StoppedProcess& process, const Entrance& entrance);
  static Hands adopt_area(StoppedProcess& process, const Entrance& entrance, Range mapped);
  // Uses a mapped area that stays when these hands go.
  static Hands borrow_area(StoppedProcess& process, Range mapped);

  Hands(Hands&& other) noexcept;
  Hands& operator=(Hands&&) = delete;
  ~Hands();  // unmaps the area that map_area made, unless keep_area() was called

  // Makes the calls in this thread, in order; the results are as the kernel returns them (-errno). After a call with
  // stop_on_error has failed, the rest is not made and has result -ECANCELED.
  Result<std::vector<int64_t>> run(Thread& thread, std::span<const Call> calls);
  // One call whose failure is an Error that names it.
  Result<int64_t> call(Thread& thread, const char* name, const Call& call);

  // One call that opens a descriptor, which is handed to us, and closed in the process before it runs again: also when
  // we are killed in between. Nobody who runs may share its table. It is open in there for a moment, as the lowest
  // number that is free.
  Result<sys::UniqueFd> open_for_us(Thread& thread, const char* name, Call open);

  // One call from which the process does not come back: exit_group(2).
  Result<> exit(Thread& thread, int status);
  // The tasks that the calls so far have made (clone3), in order, by our numbers: traced, and about to stop.
  std::vector<Pid> take_newborns() { return std::exchange(newborns_, {}); }

  // Memory of kScratchSize bytes in the target that is free between two run()s.
  uint64_t scratch() const { return area_.start; }
  // A slot of kResumeSlotSize bytes that outlives these hands, for a RunnerFrame and its call.
  Result<uint64_t> resume_slot();
  // Leaves a mapped area where it is: a thread is going to resume in it.
  void keep_area() { keep_ = true; }
  const Area& area() const { return area_; }
  // What is mapped for it, and is none of the program's; empty in an area that the agent lends.
  Range mapped() const { return mapped_; }

 private:
  Hands(StoppedProcess& process, const Entrance& entrance, Area area, Range mapped)
      : process_(&process), entrance_(entrance), area_(area), mapped_(mapped) {}
  void insist_on_closing(Thread& thread, RemoteFd fd);
  Result<> write_table(Thread& thread, std::span<const Call> calls, int signal);
  Result<> start_table(Thread& thread, int signal);
  Result<> run_table(Thread& thread, int signal);
  // `after_first`: to be done when the first call has returned and the second is not made yet.
  Result<std::vector<int64_t>> run_one_table(Thread& thread, std::span<const Call> calls,
                                             const std::function<void()>& after_first = {});

  StoppedProcess* process_;
  Entrance entrance_;
  Area area_;
  Range mapped_;
  bool keep_ = false;
  uint64_t slots_used_ = 0;
  std::vector<Pid> newborns_;
};

// Of a process's descriptors: what the next one that is opened in it is called, as long as it stands still.
Result<RemoteFd> lowest_free_number(Pid process);

// An area of ours left in a process by an earlier checkpoint begins with this.
inline constexpr char kAreaMagic[16] = "stint area v1\n";
// Offsets inside a mapped area: the magic and the runner on its first page, the writable part behind.
inline constexpr uint64_t kAreaRunnerOffset = 64;
inline constexpr uint64_t kAreaDataOffset = 4096;
// The areas that earlier checkpoints left in the process, whose mappings are given, because threads were to resume in
// them.
std::vector<Range> left_areas(Pid process, std::span<const proc::Vma> vmas);
// How an area is mapped (mmap(2)), and what is then asked for it (madvise(2)): private, so that a child has its own,
// and with advice that no mapping beside it has, so that it does not merge with one of the program's.
inline constexpr int kAreaMapFlags = MAP_PRIVATE | MAP_ANONYMOUS;
inline constexpr int kAreaAdvice[] = {MADV_DONTDUMP, MADV_RANDOM};
// How large a mapped area is for a process with so many threads.
uint64_t area_size(size_t threads);
// The first page of a mapped area.
Bytes area_code_page();

}  // namespace stint::tracee
