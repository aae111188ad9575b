#include "cli/command.h"

namespace stint::cli {
namespace {

constexpr Command kCommands[] = {
    {"run", "run a program as a job that can be checkpointed", run_command},
    {"checkpoint", "save a running job", checkpoint_command},
    {"restart", "take a job up from a checkpoint", restart_command},
    {"ps", "list the jobs", ps_command},
    {"logs", "show what a job wrote when nobody was there to take it", logs_command},
    {"wait", "wait for the end of a job", wait_command},
    {"kill", "send a signal to a job", kill_command},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace stint::cli
