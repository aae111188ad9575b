// Standard input that had arrived before the checkpoint and was not read yet. Its pipe is gone with the program that
// held it, so the program gets a new one, which is filled with those bytes; a small process of ours then moves what the
// new supervisor's input gives into it, without ever holding a byte (splice(2)). It ends with its input, or with the
// program.
#pragma once

#include "base/result.h"
#include "image/record.h"
#include "sys/fd.h"

namespace stint::restore {

// Replaces our own standard input where the checkpoint has such bytes, before the job's family is started. The caller
// is single-threaded. The small process moves nothing before start_relay(), so that a restart which fails has taken
// no input; it ends when that never comes and the result is closed. Not valid where there are no such bytes.
Result<sys::UniqueFd> relay_input(const image::Source& source);
void start_relay(const sys::UniqueFd& relay);

}  // namespace stint::restore
