// What both ends of a pseudoterminal need of each other.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "fd/kind.h"

namespace stint::fd {

// Whether /dev/pts of this process is another than ours: what is open there has a number that says nothing here.
Result<bool> has_own_pts(Pid process);

// Notes a description that is an end of a pty, for those that ask who has the other.
Result<> note_pty(const Facts& facts, PtyEnds& ptys);

bool is_pty_slave(const Facts& facts);

// The master in the job of the pty whose slave this is, null when there is none.
Result<const Facts*> find_master(const Facts& slave, const CaptureContext& context);
// A slave of this master that the job has open, null when there is none.
Result<const Facts*> find_slave(const Facts& master, const CaptureContext& context);

// The ptys whose masters are among these descriptors, by the session (as we number it) that their slave controls.
Result<std::map<int, int>> controlling_ptys(std::span<const std::vector<Facts>> tables);

// The number of the pty with this device number; -1 for another device.
int pty_number_of(dev_t device);

// The pty of this number: made when first asked for. Its slave is not locked.
Result<int> restored_master(int number, RestoreContext& context);

}  // namespace stint::fd
