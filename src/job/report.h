// What the processes of a family tell the supervisor, over one socket (sys/message.h). The supervisor never answers: a
// family must get along without it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/remote.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::job {

enum class ReportKind : uint32_t {
  kInit,  // the sender is the job's init, stand-in, root; value: its number as the job sees it
  kStandIn,
  kRoot,
  kNote,       // text: something that the user should know and that does not stop us
  kFailed,     // the family cannot be had; value: ErrorKind, detail: errno, text: why
  kStopped,    // the root was stopped; value: the signal
  kContinued,  // the root goes on
  kExited,     // the root ended; value: its exit status
  kKilled,     // the root ended; value: the signal
};
// In detail of kExited and kKilled.
inline constexpr int kDumpedCore = 1;
inline constexpr int kOthersLeft = 2;  // the job goes on in processes that the root has left behind

struct Report {
  ReportKind kind = ReportKind::kNote;
  int32_t value = 0;
  int32_t detail = 0;
  char text[500] = {};

  Pid sender;  // filled in by take_report
};

Result<> send_report(int socket, ReportKind kind, int value = 0, int detail = 0, const std::string& text = {});
// kStandIn, with the master of the job's terminal; -1: it has none.
Result<> send_stand_in(int socket, int number, int master);
Result<> send_failure(int socket, const Error& error);

struct ReportTaken {
  bool ended = false;  // nobody is left who could send
  std::optional<Report> report;
  sys::UniqueFd master{};  // with kStandIn
};
// The next report; neither ended nor a report when `wait` is false and there is none.
Result<ReportTaken> take_report(int socket, bool wait);

}  // namespace stint::job
