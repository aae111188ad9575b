// Puts blocks of page data into the file `pages`, on threads of its own, so that whoever copies memory out of a stopped
// program never waits for the compressor or the disk. Each block: zero pages are taken out, the rest is hashed,
// compressed where that is worth it, and written at a place of its own. Threads are started as blocks arrive: a small
// checkpoint makes do with one.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "image/page_index.h"
#include "image/record.h"
#include "store/compression.h"

namespace stint::store {

class PageWriter {
 public:
  // Writes to `pages` (which stays the caller's, and is called `path` in errors) on at most `threads` threads; with
  // none, or where the kernel refuses threads, put() does the work itself.
  PageWriter(int pages, std::string path, Compression compression, unsigned threads);
  // Waits for the block that each thread is at; what is queued is dropped.
  ~PageWriter();

  // Queues a block: see image::Sink::put_pages. Fails with what went wrong on any thread so far.
  Result<> put(std::vector<image::PageRun> runs, std::unique_ptr<image::PageBuffer> buffer);
  // What went wrong on any thread so far.
  Result<> state() const;
  // Waits until all is written. The blocks are in the order of their first bytes.
  Result<image::PageIndexRecord> finish();

 private:
  struct Job {
    std::vector<image::PageRun> runs;
    std::unique_ptr<image::PageBuffer> buffer;
  };
  void start_thread();  // with mutex_ held
  void work();
  Result<> write(Job job, Compressor& compressor);
  uint64_t reserve(image::Storage storage, uint64_t size);
  void fail(Error error);

  const int pages_;
  const std::string path_;
  const Compression compression_;
  const unsigned most_threads_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable arrived_, settled_;
  std::deque<Job> queue_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;
  size_t unfinished_ = 0;  // queued, or at work
  bool stop_ = false;
  std::optional<Error> failure_;
  uint64_t end_ = 0;  // of what is reserved
  std::vector<image::StoredBlock> blocks_;
};

}  // namespace stint::store
