// Our hands in another process: system calls made *in* it, by the table-runner, one table at a time. Serves capture (what
// only the process itself may ask the kernel) and restore (what only it may set).
//
// The runner needs a little code and memory inside. A program with the agent lends both; in any other an area is mapped for
// as long as these hands exist. If we are killed meanwhile, the runner gives the thread back to its program by itself; only
// while the area itself is mapped and unmapped (two single calls) would the program be lost: doc/failure-model.md.
#pragma once

#include <span>
#include <vector>

#include "abi/runner.h"
#include "tracee/stop.h"

namespace stint::tracee {

// Where the runner and its memory are inside the target.
struct Area {
  uint64_t runner = 0;  // address of the code: executable
  uint64_t start = 0;   // writable memory
  uint64_t size = 0;
};

// A system call to make in the target. Arguments that point somewhere point into the target: Hands::scratch().
struct Call {
  uint64_t nr = 0;
  std::array<uint64_t, 6> args{};
  bool stop_on_error = false;
};

class Hands {
 public:
  // The most calls that one table holds; run() cuts longer lists into tables.
  static constexpr size_t kTableCalls = 256;
  // Bytes of an area that out-parameters of calls may use.
  static constexpr uint64_t kScratchSize = 64 << 10;
  // What an area must have at least; what lies behind belongs to frames that outlive these hands (resume_slot).
  static constexpr uint64_t kWorkSize = kScratchSize + (32 << 10);
  static constexpr uint64_t kResumeSlotSize = 2048;

  // Uses memory that the agent lends (or that a husk has set up).
  static Hands in_area(StoppedProcess& process, Area area);
  // Maps an area into the process, by one injected call; or takes the one that an earlier checkpoint had to leave there
  // (find_left_area), which may not be in use any more when the first table runs.
  static Result<Hands> map_area(StoppedProcess& process);
  static Hands adopt_area(StoppedProcess& process, Range mapped);

  Hands(Hands&& other) noexcept;
  Hands& operator=(Hands&&) = delete;
  ~Hands();  // unmaps the area that map_area made, unless keep_area() was called

  // Makes the calls in this thread, in order; the results are as the kernel returns them (-errno). After a call with
  // stop_on_error has failed, the rest is not made and has result -ECANCELED.
  Result<std::vector<int64_t>> run(Thread& thread, std::span<const Call> calls);
  // One call whose failure is an Error that names it.
  Result<int64_t> call(Thread& thread, const char* name, const Call& call);

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
  Hands(StoppedProcess& process, Area area, Range mapped) : process_(&process), area_(area), mapped_(mapped) {}
  Result<> write_table(Thread& thread, std::span<const Call> calls, int signal);
  Result<> run_table(Thread& thread, int signal);
  Result<std::vector<int64_t>> run_one_table(Thread& thread, std::span<const Call> calls);

  StoppedProcess* process_;
  Area area_;
  Range mapped_;
  bool keep_ = false;
  uint64_t slots_used_ = 0;
};

// An area of ours left in a process by an earlier checkpoint begins with this.
inline constexpr char kAreaMagic[16] = "stint area v1\n";
// Offsets inside a mapped area: the magic and the runner on its first page, the writable part behind.
inline constexpr uint64_t kAreaRunnerOffset = 64;
inline constexpr uint64_t kAreaDataOffset = 4096;
// The area that an earlier checkpoint left in the process because threads were to resume in it; empty for none.
Result<Range> find_left_area(Pid process);
// How large a mapped area is for a process with so many threads.
uint64_t area_size(size_t threads);
// The first page of a mapped area.
Bytes area_code_page();

// Makes one system call through a `syscall` instruction that the target has (its vDSO). The slow way, without an area.
Result<int64_t> inject_call(StoppedProcess& process, Thread& thread, const Call& call);

}  // namespace stint::tracee
