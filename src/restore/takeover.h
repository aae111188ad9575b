// Newborn processes become what they were: memory, threads, descriptors, state; each step for all of them before the
// next, so that what one needs of another is there, and timers start together at the very end.
#pragma once

#include <functional>

#include "fd/table.h"
#include "mem/rebuild.h"
#include "restore/births.h"
#include "restore/maker.h"
#include "task/deadlines.h"

namespace stint::restore {

class Takeover {
 public:
  Takeover(const Plan& plan, const image::Source& source, const fd::Tables& tables, const MakerReport& report,
           task::Deadlines& deadlines);

  // `root` is the maker: what it was to make is made. The whole job runs when this returns, or nothing of it is left.
  // `before_run` is called when the processes are there and before any of them goes on, or into a stop.
  Result<> run(Pid root, const std::function<Result<>()>& before_run);

 private:
  Result<> become(tracee::StoppedProcess root, const std::function<Result<>()>& before_run);
  Result<> restore_memory(Newborn& one);
  Result<const ProcessPlan*> plan_of(int32_t pid) const;
  Result<> seal(Newborn& root);
  Result<> restore_state(Newborn& one, fd::Distribution& descriptors);
  Result<> finish(Newborn& one);
  Result<> finish_all();
  void note_sleeps(Newborn& one);
  Result<> take_foreground(Newborn& root);
  void go();

  const Plan& plan_;
  const image::Source& source_;
  const fd::Tables& tables_;
  mem::MappingSources sources_;
  std::map<uint64_t, int> descriptions_;
  std::map<int32_t, int> ptys_;
  task::Deadlines& deadlines_;
  std::optional<Births> births_;
};

}  // namespace stint::restore
