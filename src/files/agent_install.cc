#include "files/agent_install.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "abi/ledger.h"
#include "abi/ledger_reader.h"
#include "agent/embedded.h"
#include "agent/environment.h"
#include "sys/file.h"

namespace stint::files {
namespace {

constexpr std::string_view kPreloadName = "libstint-preload.so";
constexpr std::string_view kAuditName = "libstint-audit.so";

// Writes the file beside its place and renames it: whoever opens the place sees all of it.
Result<> put_file(const std::string& path, ByteView bytes, mode_t mode) {
  std::string unfinished = fmt::format("{}.{}", path, getpid());
  sys::UniqueFd fd = TRY(sys::open(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
  Result<> written = sys::write_all(fd.get(), bytes);
  if (written.has_value()) written = sys::rename(unfinished, path);
  if (written.has_value()) return {};
  (void)sys::unlink(unfinished);  // the failure that counts is the one before
  return std::move(written).in(path);
}

Result<> ensure_file(const std::string& path, ByteView bytes) {
  Result<Bytes> present = sys::read_file(path);
  if (present.has_value() && std::ranges::equal(*present, bytes)) return {};
  return put_file(path, bytes, 0700);
}

Result<> ensure_link(const std::string& path, const std::string& target) {
  Result<> made = sys::symlink(target, path);
  if (made.has_value() || made.error().os_errno() == EEXIST) return {};
  return made;
}

// "VARIABLE=theirs:ours" from the user's own variable, whatever an outer stint had put there dropped. Empty if nothing
// of the user's was in it.
std::string with_ours(std::string_view variable, std::string_view library, const std::string& ours) {
  size_t equals = variable.find('=');
  std::string made(variable.substr(0, equals + 1));
  std::string_view list = variable.substr(equals + 1);
  bool users = list.empty();
  while (!list.empty()) {
    size_t colon = std::min(list.find(':'), list.size());
    std::string_view item = list.substr(0, colon);
    list.remove_prefix(std::min(colon + 1, list.size()));
    if (item.ends_with(library) && item.substr(0, item.size() - library.size()).ends_with('/')) continue;
    if (made.back() != '=') made += ':';
    made += item;
    users = true;
  }
  return users ? made + ":" + ours : "";
}

}  // namespace

Result<AgentPaths> install_agent(const std::string& state_directory) {
  if (state_directory.find_first_of(": $\t\n") != std::string::npos) {
    return usage(
        fmt::format("state directory '{}': the linker takes no path with ':', '$' or white space in a list; "
                    "set STINT_HOME to another",
                    state_directory));
  }
  const agent::EmbeddedAgent& embedded = agent::embedded_agent();
  std::string directory = fmt::format("{}/agent/{}", state_directory, embedded.hash);
  for (const char* kind : {"x86_64", "i686"}) {
    TRY(sys::make_directories(fmt::format("{}/{}", directory, kind), 0700).in("laying out the agent"));
  }
  TRY(ensure_file(fmt::format("{}/x86_64/{}", directory, kPreloadName), embedded.preload));
  TRY(ensure_file(fmt::format("{}/x86_64/{}", directory, kAuditName), embedded.audit));
  TRY(ensure_file(fmt::format("{}/i686/{}", directory, kPreloadName), embedded.foreign));
  TRY(ensure_file(fmt::format("{}/i686/{}", directory, kAuditName), embedded.foreign));
  for (const char* name : {"haswell", "xeon_phi", "$PLATFORM"}) {
    TRY(ensure_link(fmt::format("{}/{}", directory, name), "x86_64"));
  }
  for (const char* name : {"i586", "i486", "i386"}) TRY(ensure_link(fmt::format("{}/{}", directory, name), "i686"));
  return AgentPaths{.preload = fmt::format("{}/$PLATFORM/{}", directory, kPreloadName),
                    .audit = fmt::format("{}/$PLATFORM/{}", directory, kAuditName)};
}

Result<> create_ledger(const std::string& path) {
  std::string unfinished = fmt::format("{}.{}", path, getpid());
  sys::UniqueFd fd = TRY(sys::open(unfinished, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  TRY(sys::allocate(fd.get(), abi::ledger_size(abi::kLedgerChunks)).in("ledger"));
  TRY(sys::pwrite_all(fd.get(), abi::empty_ledger(), 0).in("ledger"));
  return sys::rename(unfinished, path).in("ledger");
}

namespace {

std::string with_static_tls(const std::string& variable) {
  std::string_view value = std::string_view(variable).substr(variable.find('=') + 1);
  if (value == agent::kStaticTls) return "";
  if (value.contains(agent::kStaticTlsTunable)) return variable;
  return variable + ":" + agent::kStaticTls;
}

}  // namespace

std::vector<std::string> build_environment(const std::vector<std::string>& user, const AgentPaths& agent,
                                           const std::string& ledger) {
  struct List {
    std::string name;
    std::string ours;
    std::function<std::string(const std::string&)> join;  // empty if nothing of the user's is in it
    bool users = false;
  };
  List lists[] = {
      {"LD_PRELOAD=", agent.preload, [&](const std::string& v) { return with_ours(v, kPreloadName, agent.preload); }},
      {"LD_AUDIT=", agent.audit, [&](const std::string& v) { return with_ours(v, kAuditName, agent.audit); }},
      {"GLIBC_TUNABLES=", agent::kStaticTls, with_static_tls},
  };
  std::vector<std::string> environment;
  for (const std::string& variable : user) {
    if (variable.starts_with("STINT_LEDGER=") || variable.starts_with("STINT_PAD=")) continue;
    List* list = std::ranges::find_if(lists, [&](const List& one) { return variable.starts_with(one.name); });
    std::string joined = list == std::end(lists) ? variable : list->join(variable);
    if (joined.empty()) continue;
    if (list != std::end(lists)) list->users = true;
    environment.push_back(joined);
  }
  size_t taken_out_later = 1;
  for (const List& list : lists)
    if (!list.users) environment.push_back(list.name + list.ours), ++taken_out_later;
  environment.push_back("STINT_LEDGER=0:" + ledger);
  // The agent takes its own variables out again, and wants their number to be even (agent/environment.h).
  if (taken_out_later % 2 == 1) environment.push_back("STINT_PAD=");
  return environment;
}

}  // namespace stint::files
