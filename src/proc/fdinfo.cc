#include "proc/fdinfo.h"

#include <fcntl.h>

#include <limits>

#include "proc/scan.h"

namespace stint::proc {
namespace {

template <class To, class From>
bool store_optional(std::optional<From> from, std::optional<To>& to) {
  To value{};
  if (!store(from, value)) return false;
  to = value;
  return true;
}

template <class T>
T& present(std::optional<T>& part) {
  return part ? *part : part.emplace();
}

// "(seconds, nanoseconds)"
bool take_time(std::string_view text, int64_t& nanoseconds) {
  Scanner scanner(text);
  if (!scanner.skip('(')) return false;
  std::optional<int64_t> seconds = scanner.integer();
  if (!seconds || !scanner.skip(", ")) return false;
  std::optional<int64_t> rest = scanner.integer();
  if (!rest || !scanner.skip(')') || !scanner.done()) return false;
  // An absurdly distant timer is as good as the end of time.
  if (__builtin_mul_overflow(*seconds, int64_t{1000000000}, &nanoseconds) ||
      __builtin_add_overflow(nanoseconds, *rest, &nanoseconds)) {
    nanoseconds = std::numeric_limits<int64_t>::max();
  }
  return true;
}

// "tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:61af sdev:7"; the last three since 4.13.
bool take_epoll(std::string_view line, std::vector<EpollWatch>& watches) {
  EpollWatch& watch = watches.emplace_back();
  Scanner scanner(line);
  if (!scanner.skip("tfd:")) return false;
  scanner.skip_blanks();
  if (!store(scanner.decimal(), watch.tfd)) return false;
  scanner.skip_blanks();
  if (!scanner.skip("events:")) return false;
  scanner.skip_blanks();
  if (!store(scanner.hex(), watch.events)) return false;
  scanner.skip_blanks();
  if (!scanner.skip("data:")) return false;
  scanner.skip_blanks();
  if (!store(scanner.hex(), watch.data)) return false;
  scanner.skip_blanks();
  if (scanner.done()) return true;
  if (!scanner.skip("pos:") || !store(scanner.integer(), watch.pos)) return false;
  scanner.skip_blanks();
  if (!scanner.skip("ino:") || !store(scanner.hex(), watch.ino)) return false;
  scanner.skip_blanks();
  return scanner.skip("sdev:") && store(scanner.hex(), watch.sdev) && scanner.done();
}

bool take_handle(std::string_view digits, std::string& handle) {
  if (digits.size() % 2 != 0) return false;
  for (size_t i = 0; i < digits.size(); i += 2) {
    std::optional<uint64_t> byte = whole_hex(digits.substr(i, 2));
    if (!byte) return false;
    handle.push_back(static_cast<char>(*byte));
  }
  return true;
}

// "inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1
// f_handle:7e9e0000640d1b6d"
bool take_inotify(std::string_view line, std::vector<InotifyWatch>& watches) {
  InotifyWatch& watch = watches.emplace_back();
  Scanner scanner(line);
  if (!scanner.skip("inotify ")) return false;
  for (scanner.skip_blanks(); !scanner.done(); scanner.skip_blanks()) {
    std::string_view word = scanner.word();
    std::optional<KeyValue> field = key_value(word);
    if (!field) return false;
    bool sound = true;
    if (field->key == "wd") sound = store(whole_hex(field->value), watch.wd);  // man 5 proc says decimal
    if (field->key == "ino") sound = store(whole_hex(field->value), watch.ino);
    if (field->key == "sdev") sound = store(whole_hex(field->value), watch.sdev);
    if (field->key == "mask") sound = store(whole_hex(field->value), watch.mask);
    if (field->key == "fhandle-type") sound = store(whole_hex(field->value), watch.handle_type);
    if (field->key == "f_handle") sound = take_handle(field->value, watch.handle);
    if (!sound) return false;
  }
  return true;
}

bool take_lock_kind(std::string_view word, LockInfo& lock) {
  static constexpr struct {
    std::string_view word;
    LockInfo::Kind kind;
  } kKinds[] = {{"POSIX", LockInfo::Kind::kPosix},  {"ACCESS", LockInfo::Kind::kPosix},
                {"FLOCK", LockInfo::Kind::kFlock},  {"OFDLCK", LockInfo::Kind::kOfd},
                {"LEASE", LockInfo::Kind::kLease},  {"DELEG", LockInfo::Kind::kDelegation},
                {"LAYOUT", LockInfo::Kind::kLayout}};
  for (const auto& known : kKinds) {
    if (known.word != word) continue;
    lock.kind = known.kind;
    return true;
  }
  return false;
}

// "1: POSIX  ADVISORY  WRITE 359 00:13:11691 0 EOF"
bool take_lock(std::string_view text, std::vector<LockInfo>& locks) {
  LockInfo& lock = locks.emplace_back();
  Scanner scanner(text);
  if (!scanner.decimal() || !scanner.skip(':')) return false;
  scanner.skip_blanks();
  if (!take_lock_kind(scanner.word(), lock)) return false;
  scanner.skip_blanks();
  std::string_view strength = scanner.word();
  lock.mandatory_or_breaking = strength != "ADVISORY" && strength != "ACTIVE";
  scanner.skip_blanks();
  std::string_view access = scanner.word();
  if (access != "READ" && access != "WRITE" && access != "RW" && access != "UNLCK" && access != "NONE") return false;
  lock.write = access == "WRITE" || access == "RW";
  scanner.skip_blanks();
  if (!store(scanner.integer(), lock.pid)) return false;
  scanner.skip_blanks();
  if (!store(scanner.hex(), lock.major) || !scanner.skip(':')) return false;
  if (!store(scanner.hex(), lock.minor) || !scanner.skip(':')) return false;
  if (!store(scanner.decimal(), lock.inode)) return false;
  scanner.skip_blanks();
  if (!store(scanner.decimal(), lock.start)) return false;
  scanner.skip_blanks();
  std::string_view end = scanner.rest();
  return end == "EOF" || store_optional(whole_decimal(end), lock.end);
}

bool take_pids(std::string_view text, std::vector<int>& pids) {
  Scanner scanner(text);
  for (scanner.skip_blanks(); !scanner.done(); scanner.skip_blanks()) {
    if (!store(scanner.integer(), pids.emplace_back())) return false;
  }
  return true;
}

// What became of one line: a field of this kind and sound, one that cannot be read, or none of this kind's.
enum class Took { kYes, kBad, kNotMine };

Took took(bool sound) { return sound ? Took::kYes : Took::kBad; }

Took take_common(const KeyValue& field, FdInfo& info) {
  if (field.key == "pos") {
    // Shown signed: /proc/PID/mem may stand in the upper half.
    int64_t position = 0;
    bool sound = store(whole_integer(field.value), position);
    info.pos = static_cast<uint64_t>(position);
    return took(sound);
  }
  if (field.key == "flags") return took(store(whole_octal(field.value), info.flags));
  if (field.key == "mnt_id") return took(store(whole_decimal(field.value), info.mnt_id));
  if (field.key == "ino") return took(store_optional(whole_decimal(field.value), info.ino));
  if (field.key == "lock") return took(take_lock(field.value, info.locks));
  if (field.key == "sigmask") return took(store_optional(whole_hex(field.value), info.signalfd_mask));
  if (field.key == "Pid") return took(store(whole_integer(field.value), present(info.pidfd).pid));
  if (field.key == "NSpid") return took(take_pids(field.value, present(info.pidfd).nspid));
  return Took::kNotMine;
}

Took take_eventfd(const KeyValue& field, std::optional<EventFdInfo>& eventfd) {
  if (field.key == "eventfd-count") return took(store(whole_hex(field.value), present(eventfd).count));
  if (field.key == "eventfd-id") return took(store_optional(whole_integer(field.value), present(eventfd).id));
  if (field.key == "eventfd-semaphore") {
    std::optional<uint64_t> semaphore = whole_decimal(field.value);
    if (semaphore) present(eventfd).semaphore = *semaphore != 0;
    return took(semaphore.has_value());
  }
  return Took::kNotMine;
}

Took take_timerfd(const KeyValue& field, std::optional<TimerFdInfo>& timerfd) {
  if (field.key == "clockid") return took(store(whole_integer(field.value), present(timerfd).clockid));
  if (field.key == "ticks") return took(store(whole_decimal(field.value), present(timerfd).ticks));
  if (field.key == "settime flags") return took(store(whole_octal(field.value), present(timerfd).settime_flags));
  if (field.key == "it_value") return took(take_time(field.value, present(timerfd).value_ns));
  if (field.key == "it_interval") return took(take_time(field.value, present(timerfd).interval_ns));
  return Took::kNotMine;
}

Took take_io_uring(std::string_view line, const KeyValue& field, std::optional<IoUringInfo>& ring) {
  if (field.key == "SqMask") {
    Scanner scanner(field.value);
    scanner.skip("0x");
    return took(store(whole_hex(scanner.rest()), present(ring).sq_mask));
  }
  if (!ring) return Took::kNotMine;  // SqMask comes first.
  if (field.key == "CqMask") {
    Scanner scanner(field.value);
    scanner.skip("0x");
    return took(store(whole_hex(scanner.rest()), ring->cq_mask));
  }
  if (field.key == "SqHead") return took(store(whole_decimal(field.value), ring->sq_head));
  if (field.key == "SqTail") return took(store(whole_decimal(field.value), ring->sq_tail));
  if (field.key == "CachedSqHead") return took(store(whole_decimal(field.value), ring->cached_sq_head));
  if (field.key == "CqHead") return took(store(whole_decimal(field.value), ring->cq_head));
  if (field.key == "CqTail") return took(store(whole_decimal(field.value), ring->cq_tail));
  if (field.key == "CachedCqTail") return took(store(whole_decimal(field.value), ring->cached_cq_tail));
  if (field.key == "SqThread") return took(store(whole_integer(field.value), ring->sq_thread));
  if (field.key == "UserFiles") return took(store(whole_decimal(field.value), ring->user_files));
  if (field.key == "UserBufs") return took(store(whole_decimal(field.value), ring->user_buffers));
  ring->lines.emplace_back(line);
  return Took::kYes;
}

Took take_line(std::string_view line, FdInfo& info) {
  if (line.starts_with("tfd:")) return took(take_epoll(line, info.epoll));
  if (line.starts_with("inotify wd:")) return took(take_inotify(line, info.inotify));
  std::optional<KeyValue> field = key_value(line);
  if (!field) return Took::kNotMine;
  Took result = take_common(*field, info);
  if (result == Took::kNotMine) result = take_eventfd(*field, info.eventfd);
  if (result == Took::kNotMine) result = take_timerfd(*field, info.timerfd);
  if (result == Took::kNotMine) result = take_io_uring(line, *field, info.io_uring);
  return result;
}

}  // namespace

bool FdInfo::close_on_exec() const { return (flags & O_CLOEXEC) != 0; }

Result<FdInfo> parse_fdinfo(std::string_view text) {
  FdInfo info;
  while (std::optional<std::string_view> line = next_line(text)) {
    if (line->empty()) continue;
    switch (take_line(*line, info)) {
      case Took::kYes:
        break;
      case Took::kBad:
        return not_understood("fdinfo", *line);
      case Took::kNotMine:
        info.other.emplace_back(*line);
    }
  }
  return info;
}

}  // namespace stint::proc
