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

void append(StoredBlock& block, const StoredRun& run) {
  if (!block.runs.empty()) {
    StoredRun& last = block.runs.back();
    if (last.end() == run.offset && last.at + last.size == run.at) {
      last.size += run.size;
      return;
    }
  }
  block.runs.push_back(run);
}

// What is left of a block when its zero pages are taken out, and those that the base has.
class Split {
 public:
  Split(const std::vector<PageRun>& runs, std::byte* buffer, const BasePages* base) : buffer_(buffer), base_(base) {
    data.space = zero.space = runs.front().space;
    const std::byte* from = buffer;
    for (const PageRun& run : runs)
      for (uint64_t done = 0; done < run.size;) {
        uint64_t size = std::min(kPageSize, run.size - done);
        take(run.offset + done, from, size);
        from += size;
        done += size;
      }
    // A tail that is no whole page: what comes behind it lies across pages.
    if (!whole_pages_) hashes = image::page_hashes({buffer, data.size});
  }

  StoredBlock data, zero;  // data.size bytes, which now stand at the start of the buffer
  std::vector<Hash128> hashes;
  std::map<size_t, StoredBlock> known;  // by their number in the base

 private:
  void take(uint64_t offset, const std::byte* from, uint64_t size) {
    if (all_zero({from, size})) {
      append(zero, {offset, size, zero_size_});
      zero_size_ += size;
      return;
    }
    whole_pages_ &= size == kPageSize;
    if (whole_pages_) {
      Hash128 hash = hash128({from, size});
      if (is_known(offset, hash)) return;
      hashes.push_back(hash);
    }
    append(data, {offset, size, data.size});
    std::byte* to = buffer_ + data.size;
    if (to != from) std::memmove(to, from, size);
    data.size += size;
  }

  bool is_known(uint64_t offset, const Hash128& hash) {
    std::optional<BasePages::Place> place = base_ != nullptr ? base_->find(data.space, offset, hash) : std::nullopt;
    if (!place) return false;
    auto [found, added] = known.try_emplace(place->block);
    if (added) {
      found->second = base_->blocks()[place->block];
      found->second.runs.clear();
    }
    append(found->second, {offset, kPageSize, place->at});
    return true;
  }

  std::byte* buffer_;
  const BasePages* base_;
  uint64_t zero_size_ = 0;
  bool whole_pages_ = true;
};

}  // namespace

PageWriter::PageWriter(Files files, Compression compression, unsigned threads, std::shared_ptr<const BasePages> base)
    : files_(std::move(files)), compression_(compression), most_threads_(threads), base_(std::move(base)) {
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
  Job job{std::move(runs), std::move(buffer), 0};
  {
    std::lock_guard lock(mutex_);
    job.order = ++last_order_;
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

void PageWriter::hold(bool held) {
  {
    std::lock_guard lock(mutex_);
    held_ = held;
  }
  if (!held) arrived_.notify_all();
}

Result<PageWriter::Written> PageWriter::finish() {
  hold(false);
  std::unique_lock lock(mutex_);
  settled_.wait(lock, [this] { return unfinished_ == 0; });
  if (failure_) return *failure_;
  return Written{end_, std::move(blocks_)};
}

void PageWriter::work() {
  Compressor compressor(compression_);
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    arrived_.wait(lock, [this] { return stop_ || (!queue_.empty() && !held_); });
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
  Split split(job.runs, job.buffer->data(), base_.get());
  if (split.data.size > 0) TRY(store(split.data, {job.buffer->data(), split.data.size}, split.hashes, compressor));
  std::lock_guard lock(mutex_);
  if (!split.data.runs.empty()) blocks_.push_back({std::move(split.data), job.order});
  if (!split.zero.runs.empty()) blocks_.push_back({std::move(split.zero), job.order});
  for (auto& [number, block] : split.known) blocks_.push_back({std::move(block), job.order});
  return {};
}

Result<> PageWriter::store(StoredBlock& block, ByteView data, const std::vector<Hash128>& hashes,
                           Compressor& compressor) {
  Compressor::Packed packed = compressor.pack(data);
  block.storage = packed.storage;
  block.stored_size = packed.bytes.size();
  block.content = image::content_of(hashes);
  reserve(block, hashes.size());
  TRY(sys::pwrite_all(files_.pages, packed.bytes, block.stored_at));
  return sys::pwrite_all(files_.hashes, std::as_bytes(std::span(hashes)), block.hashes_at);
}

void PageWriter::reserve(StoredBlock& block, size_t pages) {
  std::lock_guard lock(mutex_);
  block.stored_at = block.storage == Storage::kRaw ? page_up(end_) : end_;
  end_ = block.stored_at + block.stored_size;
  block.hashes_at = hashes_end_;
  hashes_end_ += pages * sizeof(Hash128);
}

void PageWriter::fail(Error error) {
  std::lock_guard lock(mutex_);
  if (!failure_) failure_ = writing_error(std::move(error), files_.path);
}

}  // namespace stint::store
