// stint doctor [PROGRAM|PID]: says before you rely on it what will survive here, and why the rest will not.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cctype>

#include "cli/command.h"
#include "cli/doctor.h"
#include "sys/probe.h"

namespace stint::cli {
namespace {

int doctor_system(bool json) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const sys::Probe& probe : sys::probes()) {
    Result<> works = sys::try_in_child(probe.attempt);
    nlohmann::ordered_json row = {{"probe", probe.name}, {"works", works.has_value()}, {"purpose", probe.purpose}};
    if (!works) row["why_not"] = works.error().text();
    if (!works) row["without"] = probe.without;
    list.push_back(row);
    if (json) continue;
    fmt::print("{:<28} {:<4} {}\n", probe.name, works ? "yes" : "no", probe.purpose);
    if (!works) fmt::print("{:<33} without: {} ({})\n", "", probe.without, works.error().text());
  }
  if (json) print_json({{"probes", list}});
  return kOk;
}

int print_findings(const std::string& what, const Findings& findings, bool json) {
  bool refused = std::ranges::any_of(findings, [](const Finding& finding) { return finding.refused; });
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Finding& finding : findings) list.push_back({{"refused", finding.refused}, {"text", finding.text}});
    print_json({{"subject", what}, {"survives", !refused}, {"findings", list}});
  } else {
    for (const Finding& finding : findings)
      fmt::print("{} {}\n", finding.refused ? "refused:    " : "note:       ", finding.text);
    fmt::print("{}: {}\n", what, refused ? "cannot be checkpointed" : "nothing stands in the way of a checkpoint");
  }
  return refused ? kRefusedExit : kOk;
}

}  // namespace

int doctor_command(Arguments arguments) {
  Parser parser("doctor",
                "Says what will survive here, and why the rest will not. Exits with 3 if something is in the way.");
  std::string subject;
  parser.add_option("SUBJECT", subject, "a program, or the number of a process; nothing: this system");
  bool& json = parser.json();
  if (std::optional<int> status = parser.read(arguments)) return *status;
  if (subject.empty()) return doctor_system(json);
  bool number = std::ranges::all_of(subject, [](unsigned char letter) { return std::isdigit(letter) != 0; });
  Result<Findings> findings =
      number && subject.size() < 10 ? examine_process(Pid{std::stoi(subject)}) : examine_program(subject);
  if (!findings) return fail(findings.error(), json);
  return print_findings(subject, *findings, json);
}

}  // namespace stint::cli
