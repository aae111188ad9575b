// The kinds, each defined in the file of its name.
#pragma once

#include "fd/kind.h"

namespace stint::fd {

extern const Kind kCharDevice, kDirectory, kEpoll, kEventfd, kFifo, kInotify, kKernelFile, kMemfd, kMqueue, kPathOnly,
    kNetlink, kPidfd, kPipe, kPtyMaster, kPtySlave, kRegularFile, kSignalfd, kStandardStream, kTcp, kTerminal, kTimerfd,
    kUdp, kUnixSocket;

}  // namespace stint::fd
