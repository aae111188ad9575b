#include "store/page_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "store/checkpoint_dir.h"
#include "sys/file.h"

namespace stint::store {
namespace {

using image::PageRun;
using image::Storage;
using image::StoredBlock;
using image::StoredRun;

bool all_zero(ByteView bytes) {
  // Most pages that are not zero show it in their first bytes; for the rest memcmp against itself, shifted by one, is
  // the fastest there is.
  size_t head = std::min<size_t>(bytes.size(), 16);
  for (std::byte byte : bytes.first(head))
    if (byte != std::byte{0}) return false;
  return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

void append(std::vector<StoredRun>& runs, uint64_t offset, uint64_t size) {
  if (!runs.empty() && runs.back().offset + runs.back().size == offset)
    runs.back().size += size;
  else
    runs.push_back({offset, size});
}

// What is left of a block when its zero pages are taken out.
struct Split {
  StoredBlock data, zero;
  uint64_t size = 0;  // of the data, which now stands at the start of the buffer
};

Split take_out_zero_pages(const std::vector<PageRun>& runs, std::byte* buffer) {
  Split split;
  split.data.space = split.zero.space = runs.front().space;
  const std::byte* from = buffer;
  for (const PageRun& run : runs) {
    for (uint64_t done = 0; done < run.size;) {
      uint64_t size = std::min(kPageSize, run.size - done);
      if (all_zero({from, size})) {
        append(split.zero.runs, run.offset + done, size);
      } else {
        append(split.data.runs, run.offset + done, size);
        std::byte* to = buffer + split.size;
        if (to != from) std::memmove(to, from, size);
        split.size += size;
      }
      from += size;
      done += size;
    }
  }
  return split;
}

}  // namespace

PageWriter::PageWriter(int pages, std::string path, Compression compression, unsigned threads)
    : pages_(pages), path_(std::move(path)), compression_(compression), most_threads_(threads) {
  // The first one is there, with its tables, before a program is stopped; the others when there is work for them.
  std::lock_guard lock(mutex_);
  if (most_threads_ > 0) start_thread();
}

PageWriter::~PageWriter() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    queue_.clear();
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Result<> PageWriter::put(std::vector<PageRun> runs, std::unique_ptr<image::PageBuffer> buffer) {
  uint64_t size = 0;
  for (const PageRun& run : runs) {
    CHECK(run.space == runs.front().space && run.size > 0);
    size += run.size;
  }
  CHECK(size <= buffer->size());
  TRY(state());
  if (runs.empty()) return {};
  Job job{std::move(runs), std::move(buffer)};
  {
    std::lock_guard lock(mutex_);
    if (idle_ <= queue_.size() && threads_.size() < most_threads_) start_thread();
    if (!threads_.empty()) {
      queue_.push_back(std::move(job));
      ++unfinished_;
      arrived_.notify_one();
      return {};
    }
  }
  Compressor compressor(compression_);
  if (Result<> written = write(std::move(job), compressor); !written.has_value()) fail(std::move(written).error());
  return state();
}

void PageWriter::start_thread() {
  try {
    threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // RLIMIT_NPROC, or a cgroup's limit: those that are there must do.
  }
}

Result<> PageWriter::state() const {
  std::lock_guard lock(mutex_);
  if (failure_) return *failure_;
  return {};
}

Result<image::PageIndexRecord> PageWriter::finish() {
  std::unique_lock lock(mutex_);
  settled_.wait(lock, [this] { return unfinished_ == 0; });
  if (failure_) return *failure_;
  std::sort(blocks_.begin(), blocks_.end(), [](const StoredBlock& a, const StoredBlock& b) {
    return std::tuple(a.space, a.runs.front().offset) < std::tuple(b.space, b.runs.front().offset);
  });
  return image::PageIndexRecord{.pages_size = end_, .blocks = std::move(blocks_)};
}

void PageWriter::work() {
  Compressor compressor(compression_);
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    arrived_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    --idle_;
    if (stop_) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    // After a failure the blocks are only given back, so that nobody waits for a buffer.
    bool useless = failure_.has_value();
    lock.unlock();
    if (useless)
      job.buffer.reset();
    else if (Result<> written = write(std::move(job), compressor); !written.has_value())
      fail(std::move(written).error());
    lock.lock();
    if (--unfinished_ == 0) settled_.notify_all();
  }
}

Result<> PageWriter::write(Job job, Compressor& compressor) {
  Split split = take_out_zero_pages(job.runs, job.buffer->data());
  if (split.size > 0) {
    ByteView data(job.buffer->data(), split.size);
    Compressor::Packed packed = compressor.pack(data);
    split.data.storage = packed.storage;
    split.data.content = hash128(data);
    split.data.stored_size = packed.bytes.size();
    split.data.stored_at = reserve(packed.storage, packed.bytes.size());
    TRY(sys::pwrite_all(pages_, packed.bytes, split.data.stored_at));
  }
  std::lock_guard lock(mutex_);
  if (!split.data.runs.empty()) blocks_.push_back(std::move(split.data));
  if (!split.zero.runs.empty()) blocks_.push_back(std::move(split.zero));
  return {};
}

uint64_t PageWriter::reserve(Storage storage, uint64_t size) {
  std::lock_guard lock(mutex_);
  uint64_t at = storage == Storage::kRaw ? page_up(end_) : end_;
  end_ = at + size;
  return at;
}

void PageWriter::fail(Error error) {
  std::lock_guard lock(mutex_);
  if (!failure_) failure_ = writing_error(std::move(error), path_);
}

}  // namespace stint::store
