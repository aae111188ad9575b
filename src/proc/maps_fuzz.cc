// Every parser of proc/ on arbitrary bytes: none may crash, loop, or read outside of them.
#include "proc/maps.h"

#include "proc/fdinfo.h"
#include "proc/mountinfo.h"
#include "proc/process.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)stint::proc::parse_maps(text);
  (void)stint::proc::parse_smaps(text);
  (void)stint::proc::parse_fdinfo(text);
  (void)stint::proc::parse_mountinfo(text);
  (void)stint::proc::parse_stat(text);
  (void)stint::proc::parse_status(text);
  (void)stint::proc::parse_auxv(stint::bytes_of(text));
  (void)stint::proc::parse_timers(text);
  (void)stint::proc::parse_personality(text);
  (void)stint::proc::parse_sched(text);
  (void)stint::proc::parse_cgroup(text);
  return 0;
}
