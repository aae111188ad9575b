// Puts blocks of page data into the file `pages`, on threads of its own, so that whoever copies memory out of a stopped
// program never waits for the compressor or the disk. Each block: zero pages are taken out, and those that the base has
// in the same place; the rest is hashed, compressed where that is worth it, and written at a place of its own. Threads
// are started as blocks arrive: a small checkpoint makes do with one.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "image/record.h"
#include "store/base_pages.h"
#include "store/compression.h"
#include "store/latest.h"

namespace stint::store {

class PageWriter {
 public:
  // Where to write; the descriptors stay the caller's.
  struct Files {
    int pages = -1, hashes = -1;
    std::string path;  // of `pages`, for errors
  };
  // Works on at most `threads` threads; with none, or where the kernel refuses threads, put() does the work itself.
  // `base`: null for none.
  PageWriter(Files files, Compression compression, unsigned threads, std::shared_ptr<const BasePages> base = {});
  // Waits for the block that each thread is at; what is queued is dropped.
  ~PageWriter();

  // Queues a block: see image::Sink::put_pages. Fails with what went wrong on any thread so far.
  Result<> put(std::vector<image::PageRun> runs, std::unique_ptr<image::PageBuffer> buffer);
  // While held, the threads begin no block. finish() ends that.
  void hold(bool held);
  // What went wrong on any thread so far.
  Result<> state() const;
  // Waits until all is written. A page that the base has is a run of the base's block.
  struct Written {
    uint64_t pages_size = 0;
    std::vector<PutBlock> blocks;
  };
  Result<Written> finish();

 private:
  struct Job {
    std::vector<image::PageRun> runs;
    std::unique_ptr<image::PageBuffer> buffer;
    uint64_t order = 0;
  };
  void start_thread();  // with mutex_ held
  void work();
  Result<> write(Job job, Compressor& compressor);
  Result<> store(image::StoredBlock& block, ByteView data, const std::vector<Hash128>& hashes, Compressor& compressor);
  void reserve(image::StoredBlock& block, size_t pages);
  void fail(Error error);

  const Files files_;
  const Compression compression_;
  const unsigned most_threads_;
  const std::shared_ptr<const BasePages> base_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable arrived_, settled_;
  std::deque<Job> queue_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;
  size_t unfinished_ = 0;  // queued, or at work
  bool stop_ = false, held_ = false;
  std::optional<Error> failure_;
  uint64_t last_order_ = 0;
  uint64_t end_ = 0, hashes_end_ = 0;  // of what is reserved
  std::vector<PutBlock> blocks_;
};

}  // namespace stint::store
