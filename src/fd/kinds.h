// The kinds, each defined in the file of its name.
#pragma once

#include "fd/kind.h"

namespace stint::fd {

extern const Kind kCharDevice, kDirectory, kEpoll, kEventfd, kFifo, kKernelFile, kMemfd, kPipe, kRegularFile, kSignalfd,
    kStandardStream, kTerminal, kTimerfd, kUnixSocket;

}  // namespace stint::fd
