// stint: a program's run, cut into stints.
#include <cstdio>
#include <cstring>

#include "cli/command.h"

namespace {

using stint::cli::Command;

void print_help(FILE* to) {
  std::fputs(
      "stint runs unmodified programs so that they can be checkpointed, killed, restarted and moved.\n\n"
      "usage: stint COMMAND [ARGUMENTS]      stint COMMAND --help tells more\n\n",
      to);
  for (const Command& command : stint::cli::commands()) std::fprintf(to, "  %-12s%s\n", command.name, command.summary);
  std::fputs("\n  --version   print the version\n", to);
}

}  // namespace

int main(int count, char** values) {
  if (count < 2) {
    print_help(stderr);
    return stint::cli::kUsageExit;
  }
  const char* wanted = values[1];
  for (const Command& command : stint::cli::commands()) {
    if (std::strcmp(command.name, wanted) == 0) return command.run({values + 2, static_cast<size_t>(count - 2)});
  }
  if (std::strcmp(wanted, "--version") == 0) {
    std::puts("stint " STINT_VERSION);
    return 0;
  }
  if (std::strcmp(wanted, "--help") == 0 || std::strcmp(wanted, "-h") == 0 || std::strcmp(wanted, "help") == 0) {
    print_help(stdout);
    return 0;
  }
  std::fprintf(stderr, "stint: '%s' is no command (`stint --help` lists them)\n", wanted);
  return stint::cli::kUsageExit;
}
