// A sink that takes everything and keeps nothing: whether something would be refused, and nothing else, is the
// question.
#pragma once

#include "image/record.h"

namespace stint::image {

class NullSink final : public Sink {
 public:
  Result<> put(Record) override { return {}; }
  Result<std::unique_ptr<PageBuffer>> page_buffer() override { return std::make_unique<Buffer>(); }
  Result<> put_pages(std::vector<PageRun>, std::unique_ptr<PageBuffer>) override { return {}; }
  Result<> settle(uint64_t, std::vector<Range>, std::vector<Range>) override { return {}; }
  Result<> commit() override { return {}; }

 private:
  class Buffer final : public PageBuffer {
   public:
    std::byte* data() override { return bytes_.data(); }
    size_t size() const override { return bytes_.size(); }

   private:
    Bytes bytes_ = Bytes(kPageBufferSize);
  };
};

}  // namespace stint::image
