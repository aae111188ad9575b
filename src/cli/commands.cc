#include "cli/command.h"

namespace stint::cli {
namespace {

constexpr Command kCommands[] = {
    {"run", "run a program as a job that can be checkpointed", run_command},
    {"checkpoint", "save a running job", checkpoint_command},
    {"restart", "take a job up from a checkpoint", restart_command},
    {"ps", "list the jobs", ps_command},
    {"ls", "list the checkpoints", ls_command},
    {"show", "show what a checkpoint holds", show_command},
    {"diff", "show what changed between two checkpoints", diff_command},
    {"verify", "check every byte of a checkpoint", verify_command},
    {"forget", "remove checkpoints", forget_command},
    {"prune", "remove what no checkpoint needs", prune_command},
    {"export", "write a checkpoint to stdout as one stream", export_command},
    {"import", "make a job of such a stream", import_command},
    {"logs", "show what a job wrote when nobody was there to take it", logs_command},
    {"doctor", "say what will survive here, and why the rest will not", doctor_command},
    {"wait", "wait for the end of a job", wait_command},
    {"kill", "send a signal to a job", kill_command},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace stint::cli
