#include "job/report.h"

#include <cstddef>
#include <cstring>

#include "sys/message.h"

namespace stint::job {
namespace {
constexpr size_t kSentSize = offsetof(Report, sender);

ByteView sent_part(const Report& report) { return {reinterpret_cast<const std::byte*>(&report), kSentSize}; }
}  // namespace

Result<> send_report(int socket, ReportKind kind, int value, int detail, const std::string& text) {
  Report report{kind, value, detail, {}, {}};
  text.copy(report.text, sizeof(report.text) - 1);
  return sys::send_message(socket, sent_part(report));
}

Result<> send_stand_in(int socket, int number, int master) {
  return sys::send_message(socket, sent_part({ReportKind::kStandIn, number, 0, {}, {}}), master);
}

Result<> send_failure(int socket, const Error& error) {
  return send_report(socket, ReportKind::kFailed, static_cast<int>(error.kind()), error.os_errno(), error.text());
}

Result<ReportTaken> take_report(int socket, bool wait) {
  Report report;
  std::span<std::byte> place(reinterpret_cast<std::byte*>(&report), kSentSize);
  std::optional<sys::Message> message = TRY(sys::receive_message(socket, place, wait));
  if (!message) return ReportTaken{};
  if (message->size == 0) return ReportTaken{true, {}, sys::UniqueFd()};
  if (message->size != kSentSize) return failed("a report of the job's family has the wrong size");
  report.text[sizeof(report.text) - 1] = 0;
  report.sender = Pid{message->sender};
  return ReportTaken{false, report, std::move(message->descriptor)};
}

}  // namespace stint::job
