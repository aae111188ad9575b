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
constexpr char kTunables[] = "GLIBC_TUNABLES=";
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

constexpr size_t kMaxAddedText = sizeof kPreload + sizeof kAudit + sizeof kTunables + sizeof kStaticTls +
                                 sizeof kLedger + kHexDigits + 1 + sizeof kPad;
constexpr size_t kMaxAddedVariables = 5;  // preload, audit, tunables, ledger, pad

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

// True if nothing of the user's is left in the variable.
bool cut_off(char* value, char* last) {
  if (last == value) return true;
  last[-1] = 0;
  return false;
}

// Ours is the last of the list, if it is there at all.
bool take_out_of_list(char* value, const char* library, char (&place)[kMaxPath]) {
  char* last = last_of(value);
  return ends_with(last, library) && keep(place, last) && cut_off(value, last);
}

bool take_out_tunable(char* value) {
  char* last = last_of(value);
  return text_equal(last, kStaticTls) && cut_off(value, last);
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

// A variable whose value is a list that ends with ours.
struct List {
  const char* name;
  const char* ours;     // empty: it is not needed
  const char* settled;  // an item that begins so makes ours superfluous
  bool users = false;   // the variable is there already
};

// True if ours is in the list already (the environment is one that we made), or something in its place.
bool has_ours(const char* list, const List& of) {
  if (ends_with(list, of.ours)) return true;
  if (of.settled == nullptr) return false;
  for (const char* item = list; *item != 0; ++item)
    if ((item == list || item[-1] == ':') && starts_with(item, of.settled)) return true;
  return false;
}

const char* value_of(const char* variable, const List& list) { return variable + text_size(list.name); }

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
    } else if (starts_with(variable, kTunables)) {
      remove = take_out_tunable(variable + sizeof kTunables - 1);
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
  size_t lists = text_size(own.preload) + text_size(own.audit) + sizeof kStaticTls;
  size_t text = lists + text_size(own.ledger) + kMaxAddedText;
  for (; environment != nullptr && environment[count] != nullptr; ++count) {
    const char* variable = environment[count];
    if (starts_with(variable, kPreload) || starts_with(variable, kAudit) || starts_with(variable, kTunables))
      text += text_size(variable) + 2 + lists;
  }
  return (count + kMaxAddedVariables + 1) * sizeof(char*) + text;
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

List* list_of(List (&lists)[3], const char* variable) {
  for (List& list : lists)
    if (list.ours[0] != 0 && starts_with(variable, list.name)) return &list;
  return nullptr;
}

}  // namespace

char** put_into(char* const* environment, char* buffer) {
  size_t count = 0;
  while (environment != nullptr && environment[count] != nullptr) ++count;
  char** made = (char**)buffer;
  char* text = buffer + (count + kMaxAddedVariables + 1) * sizeof(char*);
  char** to = made;
  List lists[] = {{kPreload, own.preload, nullptr},
                  {kAudit, own.audit, nullptr},
                  {kTunables, own.audit[0] != 0 ? kStaticTls : "", kStaticTlsTunable}};
  size_t taken_out_later = 1;  // STINT_LEDGER
  for (size_t i = 0; i < count; ++i) {
    char* variable = environment[i];
    if (is_ours(variable)) continue;
    List* list = list_of(lists, variable);
    if (list == nullptr) {
      *to++ = variable;
      continue;
    }
    list->users = true;
    const char* value = value_of(variable, *list);
    if (text_equal(value, list->ours)) ++taken_out_later;
    *to++ = has_ours(value, *list) ? variable : put_list(&text, variable, list->ours);
  }
  for (const List& list : lists)
    if (!list.users && list.ours[0] != 0) *to++ = put_new(&text, list.name, list.ours), ++taken_out_later;

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
