// Failure as a value. A function that can fail for a reason outside this program returns Result<T>: the value, or an
// Error that tells the story outside-in ("cannot restart pid 42: fd 5: F_SETPIPE_SZ: Operation not permitted").
// CHECK is for our own mistakes only and never looks at anything that came from outside.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace stint {

// Why something failed, as far as a caller acts on it: the command line maps these to exit statuses
// (doc/architecture.md).
enum class ErrorKind {
  kFailed,   // the system said no, something vanished, the disk is full
  kUsage,    // the user asked for something that makes no sense
  kRefused,  // holds something that cannot be checkpointed
  kDamaged,  // a checkpoint whose bytes are not what was written
  kUnfit,    // a sound checkpoint that this host cannot restart
  kNotNow,   // kRefused, for what comes and goes: a moment later it may be gone
};

class [[nodiscard]] Error {
 public:
  Error(ErrorKind kind, std::string message, int os_errno = 0)
      : kind_(kind), os_errno_(os_errno), text_(std::move(message)) {}

  ErrorKind kind() const { return kind_; }
  // The errno of the system call that failed, 0 where none did.
  int os_errno() const { return os_errno_; }
  const std::string& text() const { return text_; }

  // Puts what we were doing in front.
  Error in(std::string_view doing) && {
    text_.insert(0, std::string(doing) + ": ");
    return std::move(*this);
  }
  Error as(ErrorKind kind) && {
    kind_ = kind;
    return std::move(*this);
  }

 private:
  ErrorKind kind_;
  int os_errno_;
  std::string text_;
};

template <class T = void>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
  Result(Error error) : std::expected<T, Error>(std::unexpected(std::move(error))) {}

  // Adds what we were doing to the failure, if it is one.
  Result in(std::string_view doing) && {
    if (this->has_value()) return std::move(*this);
    return std::move(this->error()).in(doing);
  }
  // Gives the failure, if it is one, another meaning.
  Result as(ErrorKind kind) && {
    if (this->has_value()) return std::move(*this);
    return std::move(this->error()).as(kind);
  }
};

// "CALL: strerror(errno)". The second form is for a call that returns its error instead of setting errno.
Error os_error(std::string_view call);
Error os_error(std::string_view call, int os_errno);

inline Error failed(std::string message) { return Error(ErrorKind::kFailed, std::move(message)); }
inline Error refused(std::string message) { return Error(ErrorKind::kRefused, std::move(message)); }
inline Error damaged(std::string message) { return Error(ErrorKind::kDamaged, std::move(message)); }
inline Error unfit(std::string message) { return Error(ErrorKind::kUnfit, std::move(message)); }
inline Error not_now(std::string message) { return Error(ErrorKind::kNotNow, std::move(message)); }
inline Error usage(std::string message) { return Error(ErrorKind::kUsage, std::move(message)); }

[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace stint

// Yields the value of a Result, or returns its failure to the caller. The expression's own temporaries are gone after
// it.
#define TRY(...)                                                                   \
  ({                                                                               \
    auto stint_try_result = (__VA_ARGS__);                                         \
    if (!stint_try_result.has_value()) return std::move(stint_try_result).error(); \
    stint::detail::take(std::move(stint_try_result));                              \
  })

#define CHECK(condition) (static_cast<bool>(condition) ? void() : stint::check_failed(#condition, __FILE__, __LINE__))

namespace stint::detail {
template <class T>
T take(Result<T>&& result) {
  return std::move(*result);
}
inline void take(Result<void>&&) {}
}  // namespace stint::detail
