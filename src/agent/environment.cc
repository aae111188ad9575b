#include "agent/environment.h"

#include <asm/unistd_64.h>
#include <linux/auxvec.h>
#include <linux/fcntl.h>

#include "agent/guest.h"
#include "agent/ledger.h"

// glibc's linker knows where the kernel put the arguments; libc's environ is not set yet when the first constructor
// runs. musl has set environ by then.
extern "C" __attribute__((weak)) void* __libc_stack_end;
extern "C" __attribute__((weak)) char** environ;

namespace stint::agent {
namespace {

constexpr char kPreload[] = "LD_PRELOAD=";
constexpr char kAudit[] = "LD_AUDIT=";
constexpr char kLedger[] = "STINT_LEDGER=";
constexpr char kPad[] = "STINT_PAD=";
constexpr size_t kHexDigits = 16;
constexpr size_t kMaxPath = 4096;

// Our own values, kept apart from the stack: programs that set their title overwrite the original environment.
struct Own {
  char preload[kMaxPath];
  char audit[kMaxPath];
  char ledger[kMaxPath];
};
Own own;

constexpr size_t kMaxAddedText = sizeof kPreload + sizeof kAudit + sizeof kLedger + kHexDigits + 1 + sizeof kPad;

bool keep(char (&place)[kMaxPath], const char* value) {
  size_t size = text_size(value);
  if (size >= kMaxPath) return false;
  copy_bytes(place, value, size + 1);
  return true;
}

// The last component of a list separated by colons.
char* last_of(char* list) {
  char* last = list;
  for (char* at = list; *at != 0; ++at) {
    if (*at == ':') last = at + 1;
  }
  return last;
}

// True if nothing of the user's is left in the variable. Ours is the last of the list, if it is there at all.
bool take_out_of_list(char* value, const char* library, char (&place)[kMaxPath]) {
  char* last = last_of(value);
  if (!ends_with(last, library) || !keep(place, last)) return false;
  if (last == value) return true;
  last[-1] = 0;
  return false;
}

uint64_t read_hex(const char** text) {
  uint64_t value = 0;
  for (;; ++*text) {
    char c = **text;
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value * 16 + (c - 'a' + 10);
    } else {
      return value;
    }
  }
}

char* put_hex(char* to, uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) *to++ = "0123456789abcdef"[(value >> shift) & 15];
  return to;
}

char* put_text(char* to, const char* text) {
  size_t size = text_size(text);
  copy_bytes(to, text, size);
  return to + size;
}

bool is_ours(const char* variable) { return starts_with(variable, kLedger) || starts_with(variable, kPad); }

// True if the list has our library already: the environment is one that we made.
bool has_ours(const char* list, const char* ours) { return ends_with(list, ours); }

// Fills the gap between the end of the environment and the auxiliary vector.
void ignore_gap(char** end, size_t words) {
  for (size_t i = 0; i < words; i += 2) {
    end[1 + i] = (char*)AT_IGNORE;
    end[2 + i] = nullptr;
  }
}

}  // namespace

char** initial_environment() {
  if (&__libc_stack_end != nullptr && __libc_stack_end != nullptr) {
    char** stack = (char**)__libc_stack_end;
    long arguments = (long)stack[0];
    return stack + 1 + arguments + 1;
  }
  return &environ != nullptr ? environ : nullptr;
}

const char* take_out_of(char** environment, uint64_t* previous) {
  char** to = environment;
  size_t removed = 0;
  for (char** from = environment; *from != nullptr; ++from) {
    char* variable = *from;
    bool remove = is_ours(variable);
    if (starts_with(variable, kLedger)) {
      const char* value = variable + sizeof kLedger - 1;
      *previous = read_hex(&value);
      if (*value == ':') keep(own.ledger, value + 1);
    } else if (starts_with(variable, kPreload)) {
      remove = take_out_of_list(variable + sizeof kPreload - 1, "/libstint-preload.so", own.preload);
    } else if (starts_with(variable, kAudit)) {
      remove = take_out_of_list(variable + sizeof kAudit - 1, "/libstint-audit.so", own.audit);
    }
    if (remove) {
      ++removed;
    } else {
      *to++ = variable;
    }
  }
  *to = nullptr;
  if (removed % 2 == 0) ignore_gap(to, removed);
  return own.ledger[0] == 0 ? nullptr : own.ledger;
}

bool libraries_reachable() {
  if (own.preload[0] == 0) return false;
  // $PLATFORM as it stands: a directory of that name is there too.
  long fd = system_call(__NR_openat, AT_FDCWD, own.preload, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  system_call(__NR_close, fd);
  return true;
}

size_t size_with_agent(char* const* environment) {
  size_t count = 0;
  size_t both = text_size(own.preload) + text_size(own.audit);
  size_t text = both + text_size(own.ledger) + kMaxAddedText;
  for (; environment != nullptr && environment[count] != nullptr; ++count) {
    const char* variable = environment[count];
    if (starts_with(variable, kPreload) || starts_with(variable, kAudit)) text += text_size(variable) + 2 + both;
  }
  return (count + 5) * sizeof(char*) + text;
}

namespace {

// "VARIABLE=theirs:ours", made of a variable of the environment.
char* put_list(char** text, const char* variable, const char* ours) {
  char* made = *text;
  char* end = put_text(made, variable);
  *end++ = ':';
  end = put_text(end, ours);
  *end = 0;
  *text = end + 1;
  return made;
}

char* put_new(char** text, const char* name, const char* value) {
  char* made = *text;
  char* end = put_text(put_text(made, name), value);
  *end = 0;
  *text = end + 1;
  return made;
}

}  // namespace

char** put_into(char* const* environment, char* buffer) {
  size_t count = 0;
  while (environment != nullptr && environment[count] != nullptr) ++count;
  char** made = (char**)buffer;
  char* text = buffer + (count + 5) * sizeof(char*);
  char** to = made;
  bool users_preload = false;
  bool users_audit = false;
  size_t taken_out_later = 1;  // STINT_LEDGER
  for (size_t i = 0; i < count; ++i) {
    char* variable = environment[i];
    if (is_ours(variable)) continue;
    bool preload = starts_with(variable, kPreload);
    bool audit = starts_with(variable, kAudit);
    const char* ours = preload ? own.preload : own.audit;
    if ((!preload && !audit) || ours[0] == 0) {
      *to++ = variable;
      continue;
    }
    (preload ? users_preload : users_audit) = true;
    const char* value = variable + (preload ? sizeof kPreload : sizeof kAudit) - 1;
    if (text_equal(value, ours)) ++taken_out_later;
    *to++ = has_ours(value, ours) ? variable : put_list(&text, variable, ours);
  }
  if (!users_preload) *to++ = put_new(&text, kPreload, own.preload), ++taken_out_later;
  if (!users_audit && own.audit[0] != 0) *to++ = put_new(&text, kAudit, own.audit), ++taken_out_later;

  *to++ = text;
  char* end = put_hex(put_text(text, kLedger), incarnation());
  *end++ = ':';
  end = put_text(end, own.ledger);
  *end = 0;
  text = end + 1;
  if (taken_out_later % 2 == 1) *to++ = put_new(&text, kPad, "");
  *to = nullptr;
  return made;
}

}  // namespace stint::agent
