// Fault points. With STINT_FAULT=N:ERRNO the Nth system call of this process that goes through sys::call fails with
// ERRNO; with STINT_FAULT=N:kill the process kills itself with SIGKILL in its place. STINT_FAULT_COUNT=FILE writes how
// many calls there were, so that a sweep knows where to end. Without either variable a fault point costs one load.
#pragma once

namespace stint::fault {

// The errno to fail with, or 0 for going on.
int take(const char* call_name);

}  // namespace stint::fault
