#include "image/stream.h"

#include <elf.h>
#include <fmt/format.h>

#include "image/record_kinds.h"

namespace stint::image {
namespace {

// Not text, not UTF-8, and changed by whatever translates line ends.
constexpr std::array<uint8_t, 8> kMagic = {0x93, 'S', 'T', 'I', 'N', 'T', '\r', '\n'};

// These first bytes are the same in every version of the format, so that any stint can say what it cannot read.
struct FileHeader {
  static constexpr const char* kName = "file header";
  std::array<uint8_t, 8> magic = kMagic;
  uint16_t version = kFormatVersion;
  uint16_t machine = EM_X86_64;
  uint32_t flags = 0;     // none is defined; a reader refuses those that it does not know
  uint64_t checksum = 0;  // of the 16 bytes before it
  template <class A>
  void fields(A& a) {
    a("magic", magic), a("version", version), a("machine", machine), a("flags", flags), a("checksum", checksum);
  }
};
constexpr size_t kFileHeaderSize = 24;

constexpr uint16_t kRequired = 1;

struct FrameHeader {
  static constexpr const char* kName = "frame header";
  uint32_t type = 0;
  uint16_t version = 0;
  uint16_t flags = 0;
  uint64_t payload_size = 0;
  uint64_t checksum = 0;  // of the 16 bytes before it and of the payload's hash
  template <class A>
  void fields(A& a) {
    a("type", type), a("version", version), a("flags", flags), a("payload_size", payload_size);
    a("checksum", checksum);
  }
};
constexpr size_t kFrameHeaderSize = 24;
constexpr size_t kChecksummed = 16;

uint64_t frame_checksum(const FrameHeader& header, ByteView payload) {
  Bytes covered = encode(header);
  covered.resize(kChecksummed);
  uint64_t payload_hash = hash64(payload);
  ByteView hash_bytes = std::as_bytes(std::span(&payload_hash, 1));
  covered.insert(covered.end(), hash_bytes.begin(), hash_bytes.end());
  return hash64(covered);
}

Result<> check_file_header(ByteView stream) {
  ByteView magic = std::as_bytes(std::span(kMagic));
  if (stream.size() < magic.size() || !std::equal(magic.begin(), magic.end(), stream.begin()))
    return damaged("no stint checkpoint (its first bytes are others)");
  if (stream.size() < kFileHeaderSize) return damaged("cut short inside the file header");
  FileHeader header = TRY(decode<FileHeader>(stream.first(kFileHeaderSize)));
  if (header.checksum != hash64(stream.first(kChecksummed))) return damaged("the file header's checksum is wrong");
  if (header.machine != EM_X86_64)
    return unfit(fmt::format("made on another architecture (ELF machine {}), this stint is for x86-64 ({})",
                             header.machine, EM_X86_64));
  if (header.version > kFormatVersion)
    return unfit(fmt::format("written by a newer stint: format {}, this one reads {}", header.version, kFormatVersion));
  if (header.version == 0) return damaged("format 0 does not exist");
  if (header.flags != 0) return unfit(fmt::format("written by a newer stint: unknown flags {:#x}", header.flags));
  return {};
}

// What an error calls a record.
std::string title(uint64_t number, const FrameHeader& header) {
  const RecordKind* kind = find_kind(header.type);
  return fmt::format("record {} ({})", number, kind != nullptr ? kind->name : fmt::format("type {}", header.type));
}

// Whether this stint can read the record; false: it may be left out.
Result<bool> readable(const FrameHeader& header) {
  const RecordKind* kind = find_kind(header.type);
  if (kind != nullptr && header.version >= 1 && header.version <= kind->version) return true;
  if ((header.flags & kRequired) == 0) return false;
  if (kind == nullptr)
    return unfit(
        fmt::format("written by a newer stint: record type {}, which is required, is not known here", header.type));
  return unfit(fmt::format("written by a newer stint: version {} of {} records, this one reads {}", header.version,
                           kind->name, kind->version));
}

// Goes through a stream frame by frame.
class Frames {
 public:
  explicit Frames(ByteView stream) : stream_(stream), at_(kFileHeaderSize) {}

  struct Frame {
    FrameHeader header;
    ByteView payload;
    size_t start;
  };
  Result<Frame> next() {
    ByteView rest = stream_.subspan(at_);
    if (rest.size() < kFrameHeaderSize) return damaged(fmt::format("cut short after {} records", count_));
    Frame frame{TRY(decode<FrameHeader>(rest.first(kFrameHeaderSize))), {}, at_};
    rest = rest.subspan(kFrameHeaderSize);
    if (frame.header.payload_size > rest.size())
      return damaged(title(count_, frame.header) + ": cut short, or its length is wrong");
    frame.payload = rest.first(frame.header.payload_size);
    if (frame.header.checksum != frame_checksum(frame.header, frame.payload))
      return damaged(title(count_, frame.header) + ": its checksum is wrong");
    if ((frame.header.flags & ~kRequired) != 0)
      return unfit(fmt::format("{}: written by a newer stint: unknown flags {:#x}", title(count_, frame.header),
                               frame.header.flags));
    at_ += kFrameHeaderSize + frame.payload.size();
    ++count_;
    return frame;
  }
  bool at_end() const { return at_ == stream_.size(); }
  // Of frames that next() has given.
  uint64_t count() const { return count_; }

 private:
  ByteView stream_;
  size_t at_;
  uint64_t count_ = 0;
};

Result<> check_end(ByteView stream, const Frames& frames, const Frames::Frame& last) {
  EndRecord end = TRY(decode<EndRecord>(last.payload));
  if (end.records != frames.count() - 1)
    return damaged(fmt::format("has {} records and should have {}", frames.count() - 1, end.records));
  if (end.content != hash128(stream.first(last.start))) return damaged("its records are not those that were written");
  if (!frames.at_end()) return damaged("bytes left over after the end record");
  return {};
}

}  // namespace

StreamEncoder::StreamEncoder() {
  FileHeader header;
  Bytes bytes = encode(header);
  CHECK(bytes.size() == kFileHeaderSize);
  header.checksum = hash64(ByteView(bytes).first(kChecksummed));
  out_ = encode(header);
  content_.update(out_);
}

void StreamEncoder::put(const Record& record) {
  CHECK(!finished_);
  size_t before = out_.size();
  append_frame(record);
  content_.update(ByteView(out_).subspan(before));
  ++records_;
}

void StreamEncoder::finish() {
  CHECK(!finished_);
  EndRecord end{.records = records_, .content = content_.digest()};
  append_frame({.type = RecordType::kEnd, .payload = encode(end)});
  finished_ = true;
}

void StreamEncoder::append_frame(const Record& record) {
  FrameHeader header{.type = static_cast<uint32_t>(record.type),
                     .version = record.version,
                     .flags = record.required ? kRequired : uint16_t{0},
                     .payload_size = record.payload.size()};
  header.checksum = frame_checksum(header, record.payload);
  Bytes bytes = encode(header);
  CHECK(bytes.size() == kFrameHeaderSize);
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  out_.insert(out_.end(), record.payload.begin(), record.payload.end());
}

Result<std::vector<Record>> decode_stream(ByteView stream) {
  TRY(check_file_header(stream));
  std::vector<Record> records;
  Frames frames(stream);
  for (;;) {
    Frames::Frame frame = TRY(frames.next());
    bool known = TRY(readable(frame.header));
    if (known && frame.header.type == static_cast<uint32_t>(RecordType::kEnd)) {
      TRY(check_end(stream, frames, frame));
      return records;
    }
    if (!known) continue;
    records.push_back({.type = static_cast<RecordType>(frame.header.type),
                       .version = frame.header.version,
                       .required = (frame.header.flags & kRequired) != 0,
                       .payload = Bytes(frame.payload.begin(), frame.payload.end())});
  }
}

}  // namespace stint::image
