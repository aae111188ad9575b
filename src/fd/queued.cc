#include "fd/queued.h"

#include <fmt/format.h>
#include <poll.h>

#include <deque>

#include "fd/kinds.h"
#include "fd/unix_making.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/socket.h"

namespace stint::fd {
namespace {

bool is_unix_socket(const Facts& facts, const CaptureContext& context) {
  for (const Kind* kind : kinds())
    if (kind->recognises(facts, context)) return kind == &kUnixSocket;
  return false;
}

class Queues {
 public:
  explicit Queues(CaptureContext& context) : context_(context) {}

  Result<> look(const Facts& facts) {
    if (!is_unix_socket(facts, context_) || context_.waiting_messages.contains(facts.stat.st_ino)) return {};
    std::vector<WaitingMessage>& waiting = context_.waiting_messages[facts.stat.st_ino];
    for (sys::UnixMessage& message : TRY(messages_in(facts))) {
      WaitingMessage one{.message = std::move(message), .carried = {}};
      for (sys::UniqueFd& carried : one.message.descriptors)
        one.carried.push_back(TRY(note(facts, std::move(carried))));
      one.message.descriptors.clear();
      waiting.push_back(std::move(one));
    }
    return {};
  }

  // Descriptors that were found and not looked into themselves yet come last.
  std::deque<Facts> found;

 private:
  static Result<std::vector<sys::UnixMessage>> messages_in(const Facts& facts) {
    int fd = facts.ours.get();
    int type = TRY(sys::socket_option(fd, SO_TYPE));
    std::optional<SeenUnixSocket> seen = TRY(look_at_unix_socket(facts));
    std::vector<sys::UnixMessage> none;
    if (!seen) return none;  // Its kind refuses it.
    if (type != SOCK_DGRAM && !seen->state.has_peer) return none;
    bool error = type != SOCK_STREAM && (TRY(sys::poll_now(fd, 0)) & POLLERR) != 0;
    if (!error) return sys::peek_messages(fd, seen->state.read_shut);
    // To look at the messages would take the error away.
    if (TRY(sys::bytes_queued(fd)) == 0) return none;
    return refusal(facts, "its other end went, with unread data, while messages wait in it",
                   "let them be received first");
  }

  Result<std::pair<int, int>> note(const Facts& socket, sys::UniqueFd carried) {
    constexpr int kSlack = 300;
    TRY(sys::allow_descriptor(carried.get() + kSlack));
    Facts facts;
    facts.pid = socket.pid, facts.seen_as = socket.seen_as, facts.job_pid = socket.job_pid;
    facts.fd = RemoteFd{next_--};
    facts.waits_in = socket.waits_in.empty() ? fmt::format("fd {}", socket.fd.number) : socket.waits_in;
    facts.link = TRY(sys::readlink(fmt::format("/proc/self/fd/{}", carried.get())));
    std::string lines = fmt::format("/proc/self/fdinfo/{}", carried.get());
    Bytes text = TRY(sys::read_file(lines));
    facts.info = TRY(proc::parse_fdinfo({reinterpret_cast<const char*>(text.data()), text.size()}).in(lines));
    facts.stat = TRY(sys::fstat(carried.get()));
    facts.ours = std::move(carried);
    found.push_back(std::move(facts));
    return std::pair(found.back().pid.number, found.back().fd.number);
  }

  CaptureContext& context_;
  int next_ = -2;
};

}  // namespace

Result<std::vector<Facts>> look_into_queues(std::span<const std::vector<Facts>> processes, CaptureContext& context) {
  Queues queues(context);
  for (const std::vector<Facts>& process : processes)
    for (const Facts& facts : process) TRY(queues.look(facts));
  // What is looked into may find more, behind it; a deque leaves its elements where they are.
  for (size_t i = 0; i < queues.found.size(); ++i) TRY(queues.look(queues.found[i]));
  std::vector<Facts> all;
  for (Facts& facts : queues.found) all.push_back(std::move(facts));
  return all;
}

}  // namespace stint::fd
