#include "proc/process.h"

#include <signal.h>
#include <sys/sysmacros.h>

#include <cstring>
#include <utility>

#include "proc/scan.h"

namespace stint::proc {
namespace {

// Yields the fields of stat after the state, one by one; after a bad one, nothing counts any more.
class Fields {
 public:
  explicit Fields(std::string_view text) : scanner_(text) {}

  template <class T>
  Fields& get(T& to) {
    scanner_.skip_blanks();
    if constexpr (std::is_signed_v<T>) {
      sound_ = sound_ && store(scanner_.integer(), to);
    } else {
      sound_ = sound_ && store(scanner_.decimal(), to);
    }
    return *this;
  }
  Fields& pass(int count) {
    for (int i = 0; i < count; ++i) {
      scanner_.skip_blanks();
      sound_ = sound_ && !scanner_.word().empty();
    }
    return *this;
  }
  bool sound() const { return sound_; }

 private:
  Scanner scanner_;
  bool sound_ = true;
};

bool take_bool(std::string_view text, bool& to) {
  std::optional<uint64_t> value = whole_decimal(text);
  if (value) to = *value != 0;
  return value.has_value();
}

template <class T>
bool take_list(std::string_view text, std::vector<T>& list) {
  Scanner scanner(text);
  for (scanner.skip_blanks(); !scanner.done(); scanner.skip_blanks()) {
    T& value = list.emplace_back();
    bool sound = std::is_signed_v<T> ? store(scanner.integer(), value) : store(scanner.decimal(), value);
    if (!sound) return false;
  }
  return true;
}

bool take_ids(std::string_view text, std::array<uint32_t, 4>& ids) {
  std::vector<uint32_t> list;
  if (!take_list(text, list) || list.size() != ids.size()) return false;
  std::copy(list.begin(), list.end(), ids.begin());
  return true;
}

bool take_kilobytes(std::string_view value, uint64_t& bytes) {
  Scanner scanner(value);
  std::optional<uint64_t> kilobytes = scanner.decimal();
  return kilobytes && scanner.skip(" kB") && !__builtin_mul_overflow(*kilobytes, 1024, &bytes);
}

struct StatusField {
  std::string_view key;
  bool (*take)(std::string_view value, Status& status);
};

constexpr StatusField kStatusFields[] = {
    {"Name", [](std::string_view v, Status& s) { return s.name = v, true; }},
    {"Umask", [](std::string_view v, Status& s) { return store(whole_octal(v), s.umask); }},
    {"State", [](std::string_view v, Status& s) { return !v.empty() && (s.state = v[0], true); }},
    {"Tgid", [](std::string_view v, Status& s) { return store(whole_integer(v), s.tgid); }},
    {"Pid", [](std::string_view v, Status& s) { return store(whole_integer(v), s.pid); }},
    {"PPid", [](std::string_view v, Status& s) { return store(whole_integer(v), s.ppid); }},
    {"TracerPid", [](std::string_view v, Status& s) { return store(whole_integer(v), s.tracer_pid); }},
    {"Uid", [](std::string_view v, Status& s) { return take_ids(v, s.uids); }},
    {"Gid", [](std::string_view v, Status& s) { return take_ids(v, s.gids); }},
    {"Groups", [](std::string_view v, Status& s) { return take_list(v, s.groups); }},
    {"NStgid", [](std::string_view v, Status& s) { return take_list(v, s.nstgid); }},
    {"NSpid", [](std::string_view v, Status& s) { return take_list(v, s.nspid); }},
    {"NSpgid", [](std::string_view v, Status& s) { return take_list(v, s.nspgid); }},
    {"NSsid", [](std::string_view v, Status& s) { return take_list(v, s.nssid); }},
    {"Kthread", [](std::string_view v, Status& s) { return take_bool(v, s.kernel_thread); }},
    {"VmRSS", [](std::string_view v, Status& s) { return take_kilobytes(v, s.vm_rss); }},
    {"RssAnon", [](std::string_view v, Status& s) { return take_kilobytes(v, s.rss_anon); }},
    {"RssFile", [](std::string_view v, Status& s) { return take_kilobytes(v, s.rss_file); }},
    {"RssShmem", [](std::string_view v, Status& s) { return take_kilobytes(v, s.rss_shmem); }},
    {"VmSwap", [](std::string_view v, Status& s) { return take_kilobytes(v, s.vm_swap); }},
    {"VmLck", [](std::string_view v, Status& s) { return take_kilobytes(v, s.vm_locked); }},
    {"CoreDumping", [](std::string_view v, Status& s) { return take_bool(v, s.core_dumping); }},
    {"THP_enabled", [](std::string_view v, Status& s) { return take_bool(v, s.thp_enabled); }},
    {"Threads", [](std::string_view v, Status& s) { return store(whole_integer(v), s.threads); }},
    {"SigPnd", [](std::string_view v, Status& s) { return store(whole_hex(v), s.sig_pending); }},
    {"ShdPnd", [](std::string_view v, Status& s) { return store(whole_hex(v), s.shared_pending); }},
    {"SigBlk", [](std::string_view v, Status& s) { return store(whole_hex(v), s.sig_blocked); }},
    {"SigIgn", [](std::string_view v, Status& s) { return store(whole_hex(v), s.sig_ignored); }},
    {"SigCgt", [](std::string_view v, Status& s) { return store(whole_hex(v), s.sig_caught); }},
    {"CapInh", [](std::string_view v, Status& s) { return store(whole_hex(v), s.cap_inheritable); }},
    {"CapPrm", [](std::string_view v, Status& s) { return store(whole_hex(v), s.cap_permitted); }},
    {"CapEff", [](std::string_view v, Status& s) { return store(whole_hex(v), s.cap_effective); }},
    {"CapBnd", [](std::string_view v, Status& s) { return store(whole_hex(v), s.cap_bounding); }},
    {"CapAmb", [](std::string_view v, Status& s) { return store(whole_hex(v), s.cap_ambient); }},
    {"NoNewPrivs", [](std::string_view v, Status& s) { return take_bool(v, s.no_new_privs); }},
    {"Seccomp", [](std::string_view v, Status& s) { return store(whole_integer(v), s.seccomp); }},
    {"Seccomp_filters", [](std::string_view v, Status& s) { return store(whole_integer(v), s.seccomp_filters); }},
    {"x86_Thread_features",
     [](std::string_view v, Status& s) { return s.shadow_stack = v.find("shstk") != v.npos, true; }},
};

// "signal/pid.42": how a timer notifies, and whom.
bool take_notify(std::string_view text, TimerEntry& timer) {
  Scanner scanner(text);
  std::optional<std::string_view> how = scanner.until('/');
  if (!how) return false;
  if (*how == "signal") {
    timer.notify = SIGEV_SIGNAL;
  } else if (*how == "none") {
    timer.notify = SIGEV_NONE;
  } else if (*how == "thread") {
    timer.notify = SIGEV_THREAD;
  } else {
    return false;
  }
  if (scanner.skip("tid.")) {
    timer.notify |= SIGEV_THREAD_ID;
  } else if (!scanner.skip("pid.")) {
    return false;
  }
  return store(scanner.integer(), timer.target) && scanner.done();
}

// "10/00007fff86e452a8"
bool take_signal(std::string_view text, TimerEntry& timer) {
  Scanner scanner(text);
  return store(scanner.integer(), timer.signal) && scanner.skip('/') && store(scanner.hex(), timer.value) &&
         scanner.done();
}

}  // namespace

Result<Stat> parse_stat(std::string_view text) {
  Stat stat;
  // The name may hold anything, so it ends at the last bracket of all.
  size_t open = text.find('(');
  size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open || close + 3 >= text.size())
    return not_understood("stat", text);
  Scanner before(text.substr(0, open));
  if (!store(before.integer(), stat.pid)) return not_understood("stat", text);
  stat.comm = text.substr(open + 1, close - open - 1);
  stat.state = text[close + 2];
  std::string_view rest = text.substr(close + 3);
  if (rest.ends_with('\n')) rest.remove_suffix(1);

  Fields fields(rest);
  fields.get(stat.ppid).get(stat.pgrp).get(stat.session).get(stat.tty_nr).get(stat.tpgid).get(stat.flags);
  fields.get(stat.minflt).get(stat.cminflt).get(stat.majflt).get(stat.cmajflt);
  fields.get(stat.utime).get(stat.stime).get(stat.cutime).get(stat.cstime);
  fields.get(stat.priority).get(stat.nice).get(stat.num_threads).pass(1).get(stat.starttime);
  fields.get(stat.vsize).get(stat.rss).get(stat.rsslim);
  fields.get(stat.start_code).get(stat.end_code).get(stat.start_stack).pass(2);
  fields.pass(7);  // signal masks cut to 31 bits, wchan, nswap, cnswap
  fields.get(stat.exit_signal).get(stat.processor).get(stat.rt_priority).get(stat.policy);
  fields.get(stat.delayacct_blkio_ticks).get(stat.guest_time).get(stat.cguest_time);
  fields.get(stat.start_data).get(stat.end_data).get(stat.start_brk);
  fields.get(stat.arg_start).get(stat.arg_end).get(stat.env_start).get(stat.env_end).get(stat.exit_code);
  if (!fields.sound()) return not_understood("stat", text);
  return stat;
}

dev_t terminal_device(int tty_nr) {
  unsigned encoded = static_cast<unsigned>(tty_nr);
  return makedev(encoded >> 8 & 0xfff, (encoded & 0xff) | (encoded >> 12 & 0xfff00));
}

Result<Status> parse_status(std::string_view text) {
  Status status;
  while (std::optional<std::string_view> line = next_line(text)) {
    std::optional<KeyValue> field = key_value(*line);
    if (!field) return not_understood("status", *line);
    for (const StatusField& known : kStatusFields) {
      if (known.key == field->key && !known.take(field->value, status)) return not_understood("status", *line);
    }
  }
  if (status.pid == 0) return not_understood("status", "no Pid line");
  return status;
}

Result<std::vector<AuxEntry>> parse_auxv(ByteView bytes) {
  std::vector<AuxEntry> auxv;
  for (size_t at = 0; at + sizeof(AuxEntry) <= bytes.size(); at += sizeof(AuxEntry)) {
    AuxEntry entry;
    std::memcpy(&entry, bytes.data() + at, sizeof(entry));
    if (entry.type == 0) return auxv;
    auxv.push_back(entry);
  }
  return failed("/proc/PID/auxv: has no end");
}

std::optional<uint64_t> find_aux(const std::vector<AuxEntry>& auxv, uint64_t type) {
  for (const AuxEntry& entry : auxv) {
    if (entry.type == type) return entry.value;
  }
  return std::nullopt;
}

Result<std::vector<TimerEntry>> parse_timers(std::string_view text) {
  std::vector<TimerEntry> timers;
  while (std::optional<std::string_view> line = next_line(text)) {
    std::optional<KeyValue> field = key_value(*line);
    if (!field) return not_understood("timers", *line);
    if (field->key == "ID") timers.emplace_back();
    if (timers.empty()) return not_understood("timers", *line);
    bool sound = true;
    if (field->key == "ID") sound = store(whole_integer(field->value), timers.back().id);
    if (field->key == "signal") sound = take_signal(field->value, timers.back());
    if (field->key == "notify") sound = take_notify(field->value, timers.back());
    if (field->key == "ClockID") sound = store(whole_integer(field->value), timers.back().clock);
    if (!sound) return not_understood("timers", *line);
  }
  return timers;
}

Result<uint32_t> parse_personality(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  uint32_t personality = 0;
  if (!store(whole_hex(text), personality)) return not_understood("personality", text);
  return personality;
}

Result<Sched> parse_sched(std::string_view text) {
  Sched sched;
  while (std::optional<std::string_view> line = next_line(text)) {
    std::optional<KeyValue> field = key_value(*line);
    if (!field || field->key != "se.exec_start") continue;
    // Milliseconds and six digits behind the point.
    Scanner scanner(field->value);
    std::optional<uint64_t> milliseconds = scanner.decimal();
    if (!milliseconds || !scanner.skip('.') || scanner.rest().size() != 6) return not_understood("sched", *line);
    std::optional<uint64_t> rest = whole_decimal(scanner.rest());
    uint64_t nanoseconds = 0;
    if (!rest || __builtin_mul_overflow(*milliseconds, 1000000, &nanoseconds) ||
        __builtin_add_overflow(nanoseconds, *rest, &nanoseconds))
      return not_understood("sched", *line);
    sched.exec_start_ns = nanoseconds;
    return sched;
  }
  return sched;
}

Result<std::vector<CgroupEntry>> parse_cgroup(std::string_view text) {
  std::vector<CgroupEntry> entries;
  while (std::optional<std::string_view> line = next_line(text)) {
    Scanner scanner(*line);
    CgroupEntry& entry = entries.emplace_back();
    if (!store(scanner.decimal(), entry.hierarchy) || !scanner.skip(':')) return not_understood("cgroup", *line);
    std::optional<std::string_view> controllers = scanner.until(':');
    if (!controllers) return not_understood("cgroup", *line);
    entry.controllers = *controllers;
    entry.path = scanner.rest();
  }
  return entries;
}

}  // namespace stint::proc
