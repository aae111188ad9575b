char *storage_of_this_thread(void);

int main(void) {
  storage_of_this_thread()[2999] = 1;
  return 0;
}
