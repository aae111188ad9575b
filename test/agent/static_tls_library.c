// More than the 512 bytes that glibc keeps for libraries that it meets when thread-local storage is laid out already.
static __thread char storage[3000];

char *storage_of_this_thread(void) { return storage; }
