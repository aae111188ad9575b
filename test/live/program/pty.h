// Pseudoterminals of a test's own.
#pragma once

#include <sys/ioctl.h>
#include <time.h>

#include <vector>

#include "test/live/program/descriptors.h"

namespace live {

// With a number that the other tests of this moment hardly have: between a stop and a restart it is nobody's, and
// whoever takes it then is, rightly, in the way.
inline Fd new_pty_master() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const int wanted = 16 + static_cast<int>(now.tv_nsec / 1000 % 400);
  std::vector<Fd> lower;
  while (true) {
    Fd master = open_file("/dev/ptmx", O_RDWR | O_NOCTTY);
    int number = -1;
    EXPECT_OK(ioctl(master, TIOCGPTN, &number));
    if (number < wanted) {
      lower.push_back(std::move(master));
      continue;
    }
    const int locked = 0;
    EXPECT_OK(ioctl(master, TIOCSPTLCK, &locked));
    return master;
  }
}

inline Fd pty_slave_of(int master) { return Fd(EXPECT_OK(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY))); }

}  // namespace live
