// A checkpoint on its way to disk: the Sink that capture fills.
#pragma once

#include <memory>
#include <string>

#include "image/record.h"
#include "image/stream.h"
#include "store/base_pages.h"
#include "store/checkpoint_dir.h"
#include "store/compression.h"
#include "store/page_pool.h"
#include "store/page_writer.h"

namespace stint::store {

struct WriteOptions {
  Compression compression;
  uint64_t memory = 0;   // the most that pages may take while they wait; 0: half of what is available
  unsigned threads = 0;  // that hash, compress and write; 0: one for each processor, and at least two
  bool durable = true;   // false: commit() leaves it to the kernel when the bytes reach the disk
  bool full = false;     // leans on no other checkpoint
};

class Writer final : public image::Sink {
 public:
  // Begins the next checkpoint in a job's directory `checkpoints`. One that is destroyed without a successful commit()
  // leaves nothing behind.
  static Result<std::unique_ptr<Writer>> create(const std::string& checkpoints, const WriteOptions& options);

  Result<> put(image::Record record) override;
  Result<std::unique_ptr<image::PageBuffer>> page_buffer() override;
  Result<> put_pages(std::vector<image::PageRun> runs, std::unique_ptr<image::PageBuffer> buffer) override;
  Result<> settle(uint64_t space, std::vector<Range> pages, std::vector<Range> unchanged) override;
  void hold(bool held) override { pages_->hold(held); }
  uint64_t base() const override { return base_ != nullptr ? base_->number() : 0; }
  Result<> commit() override;

  uint64_t number() const { return directory_.number(); }
  // The directory that it will be.
  const std::string& path() const { return directory_.path(); }
  // What `stint ls` will show; sizes and number are filled in by commit(). To be set before it.
  Manifest& manifest() { return manifest_; }

 private:
  Writer(PartialCheckpoint directory, const WriteOptions& options, std::shared_ptr<const BasePages> base);
  Result<image::PageIndex> make_index();

  PartialCheckpoint directory_;
  WriteOptions options_;
  Manifest manifest_;
  image::StreamEncoder records_;
  std::shared_ptr<PagePool> pool_;
  std::shared_ptr<const BasePages> base_;  // null for none
  Settled settled_, unchanged_;
  std::unique_ptr<PageWriter> pages_;  // after directory_ and pool_, so that its threads end before they go
  bool committed_ = false;
};

}  // namespace stint::store
