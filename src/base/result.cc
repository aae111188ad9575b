#include "base/result.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace stint {

Error os_error(std::string_view call, int os_errno) {
  return Error(ErrorKind::kFailed, std::string(call) + ": " + std::strerror(os_errno), os_errno);
}

Error os_error(std::string_view call) { return os_error(call, errno); }

void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "stint: internal error: %s:%d: %s\n", file, line, expression);
  std::abort();
}

}  // namespace stint
