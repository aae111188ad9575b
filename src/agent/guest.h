// The little that code without a C library needs inside somebody else's process: system calls, text, atomics' spelling.
// A failed call is a negative number. Nothing here allocates, and nothing touches errno.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern "C" long stint_system_call(long nr, long a, long b, long c, long d, long e, long f);

namespace stint::agent {

template <class T>
long raw(T value) {
  return (long)value;  // a pointer or a number, as the kernel takes it
}

template <class... Args>
long system_call(long nr, Args... args) {
  long all[6 + 1] = {raw(args)..., 0};
  return stint_system_call(nr, all[0], all[1], all[2], all[3], all[4], all[5]);
}

inline void copy_bytes(void* to, const void* from, size_t size) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

inline void clear_bytes(void* to, size_t size) { asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(0) : "memory"); }

// The length of a text, but never more than limit.
inline size_t text_size(const char* text, size_t limit = SIZE_MAX) {
  size_t size = 0;
  while (size < limit && text[size] != 0) ++size;
  return size;
}

inline bool text_equal(const char* a, const char* b) {
  while (*a != 0 && *a == *b) ++a, ++b;
  return *a == *b;
}

inline bool bytes_equal(const char* a, const char* b, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

inline bool starts_with(const char* text, const char* prefix) {
  while (*prefix != 0) {
    if (*text++ != *prefix++) return false;
  }
  return true;
}

inline bool ends_with(const char* text, const char* ending) {
  size_t size = text_size(text);
  size_t ending_size = text_size(ending);
  return size >= ending_size && text_equal(text + size - ending_size, ending);
}

template <class T>
T load(const T* word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
template <class T>
void store(T* word, T value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
template <class T>
bool replace(T* word, T expected, T value) {
  return __atomic_compare_exchange_n(word, &expected, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

}  // namespace stint::agent
