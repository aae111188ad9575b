// A live test is an ordinary self-checking program that knows nothing of stint. All of them are linked into one binary:
// `stint_live --list` names them, `stint_live NAME` runs one in this process. Natively a freeze point does nothing;
// under the harness (test/live/run) it is a place where the main thread stands still, so that the program can be cut
// exactly there. Whatever a test finds wrong ends the process at once with the place and the two values.
//
// A test leaves the process as it found it (threads joined, descriptors closed, handlers put back), because --repeat
// runs it again and again while the harness cuts at random instants.
#pragma once

#include <sstream>
#include <string>
#include <string_view>

namespace live {

// What the harness has to provide, or to expect, beyond running the test.
enum class Needs {
  kNothing,
  kTerminal,  // standard streams are a terminal, on which a line is typed
  kStreams,   // standard input holds lines: a pipe in one run, a file in another
  kRollback,  // may be killed after its last checkpoint: what it wrote since is its own growth of files
  kRefusal,   // holds something that this version refuses to checkpoint: exit status 3, and the program goes on
};

struct Test {
  const char* name;
  Needs needs;
  void (*body)();
  Test* next;
};

// Puts a test on the list before main().
class Registration {
 public:
  Registration(const char* name, Needs needs, void (*body)());

 private:
  Test test_;
};

// The place where the harness cuts. The n-th call of a run is freeze point n. Holds no descriptor, allocates nothing
// and touches only its own stack, so that nothing in the program differs for it.
void freeze_point();

// Ends the process with status 1.
[[noreturn]] void fail(const char* file, int line, const std::string& what);

// Ends the process with status 77: this kernel, processor or user lacks what the test is about.
[[noreturn]] void skip(const std::string& reason);

// A directory of the test's own, removed with all in it when the object goes.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

template <class T>
std::string shown(const T& value) {
  std::ostringstream text;
  if constexpr (std::is_enum_v<T>) {
    text << static_cast<long>(value);
  } else if constexpr (std::is_pointer_v<T> && !std::is_same_v<T, const char*>) {
    text << reinterpret_cast<const void*>(value);
  } else if constexpr (requires { text << value; }) {
    text << value;
  } else {
    text << "(a value of " << sizeof(value) << " bytes)";
  }
  return text.str();
}

template <class A, class B>
[[noreturn]] void fail_comparison(const char* file, int line, const char* expression, const A& a, const B& b) {
  fail(file, line, std::string(expression) + ", but they are: " + shown(a) + " and " + shown(b));
}

}  // namespace live

#define LIVE_TEST_THAT_NEEDS(name, needs)                                     \
  static void name();                                                         \
  static const ::live::Registration name##_registration(#name, needs, &name); \
  static void name()
#define LIVE_TEST(name) LIVE_TEST_THAT_NEEDS(name, ::live::Needs::kNothing)

#define EXPECT_RELATION_(a, relation, b)                                                        \
  do {                                                                                          \
    const auto a_ = (a);                                                                        \
    const auto b_ = (b);                                                                        \
    if (!(a_ relation b_)) {                                                                    \
      ::live::fail_comparison(__FILE__, __LINE__, "expected " #a " " #relation " " #b, a_, b_); \
    }                                                                                           \
  } while (false)
#define EXPECT_EQ(a, b) EXPECT_RELATION_(a, ==, b)
#define EXPECT_NE(a, b) EXPECT_RELATION_(a, !=, b)
#define EXPECT_GE(a, b) EXPECT_RELATION_(a, >=, b)
#define EXPECT_GT(a, b) EXPECT_RELATION_(a, >, b)
#define EXPECT_LE(a, b) EXPECT_RELATION_(a, <=, b)
#define EXPECT_LT(a, b) EXPECT_RELATION_(a, <, b)
#define EXPECT_TRUE(condition)                                                  \
  do {                                                                          \
    if (!(condition)) ::live::fail(__FILE__, __LINE__, "expected " #condition); \
  } while (false)
#define EXPECT_FALSE(condition) EXPECT_TRUE(!(condition))
// For system calls: the value must not be -1; says errno otherwise. Yields the value.
#define EXPECT_OK(call)                                                                            \
  [&](auto result) {                                                                               \
    if (result == static_cast<decltype(result)>(-1)) ::live::fail_call(__FILE__, __LINE__, #call); \
    return result;                                                                                 \
  }(call)

namespace live {
[[noreturn]] void fail_call(const char* file, int line, const char* call);
}
