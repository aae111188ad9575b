// Descriptors as such, whatever lies behind them: numbers, flags, position, owner, locks, and which of them share one
// open file description.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/remote.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// Of the status flags, Linux changes only O_APPEND, O_ASYNC, O_DIRECT, O_NOATIME and O_NONBLOCK; the others are
// ignored.
Result<> set_status_flags(int fd, int flags);
// F_GETFD: FD_CLOEXEC or 0; nothing where the number is not open.
Result<std::optional<int>> descriptor_flags(int fd);

// Another descriptor of the same description, with O_CLOEXEC, at the lowest free number that is at least `lowest`.
Result<UniqueFd> duplicate(int fd, int lowest = 0);
// The same at exactly `number`, in place of what is there. The two must differ.
Result<> duplicate_to(int fd, int number, bool close_on_exec);
// All numbers from `first` to `last`, both included. Those that are not open are no error.
Result<> close_range(unsigned first, unsigned last);

Result<uint64_t> position(int fd);
Result<> set_position(int fd, uint64_t position);
// FIONREAD: bytes that can be read at once.
Result<int> bytes_queued(int fd);
// What poll(2) shows at this moment; POLLERR and POLLHUP always.
Result<short> poll_now(int fd, short events);

Result<f_owner_ex> owner(int fd);
Result<> set_owner(int fd, const f_owner_ex& owner);
Result<int> signal_of(int fd);  // F_GETSIG
Result<> set_signal_of(int fd, int signal);

// An order of open file descriptions, the kernel's own: equal when both descriptors (of this process) share one.
Result<std::strong_ordering> compare_descriptions(int a, int b);
// Whether a descriptor of ours and one of another process share their description.
Result<bool> shares_description(int ours, Pid other, int theirs);

// Record locks, not waiting for anybody. `length` 0: to the end of the file, however far it grows.
Result<> lock_range(int fd, bool open_file_description, bool exclusive, uint64_t start, uint64_t length);
Result<> lock_whole(int fd, bool exclusive);  // flock(2)

// The type of the file system below (statfs::f_type).
Result<long> file_system_type(int fd);
// A symbolic link's text, as seen from the directory.
Result<std::string> readlink_at(int directory, const std::string& name);
// The numbers in /proc/self/fd or another process's fd directory, in order.
Result<std::vector<int>> list_numbers(int directory);
// The whole of a small file of /proc, from the directory.
Result<std::string> read_small_at(int directory, const std::string& name);

// Raises the soft limit of descriptors of this process so that `number` can be one. Needs privilege above the hard
// limit.
Result<> allow_descriptor(int number);
// The soft limit of open files of this process becomes its hard limit.
Result<> allow_most_descriptors();
// Room for so many numbers in the table of this process, as far as its limit goes. While threads share a table, it
// grows only after a grace period of RCU, milliseconds for each doubling (expand_fdtable in the kernel's fs/file.c): at
// once and before there are threads it costs nothing.
void grow_descriptor_table(int numbers);

Result<int64_t> clock_now_ns(int clock);

}  // namespace stint::sys
