// A stream of records in bytes, the same on disk and on the wire: a file header, a frame for each record, and the end
// record, which holds what all before it must be. A reader can tell a stream that is cut short, damaged, foreign, of
// another architecture or of a newer stint, and says which. Grammar and a worked example: doc/image-format.md.
#pragma once

#include "base/hash.h"
#include "image/codec.h"
#include "image/record.h"

namespace stint::image {

inline constexpr uint16_t kFormatVersion = 1;

// The last record: a stream without it is cut short.
struct EndRecord {
  static constexpr const char* kName = "end record";
  uint64_t records = 0;  // before it
  Hash128 content;       // of all bytes before its frame
  template <class A>
  void fields(A& a) {
    a("records", records), a("content", content);
  }
};

class StreamEncoder {
 public:
  StreamEncoder();
  void put(const Record& record);
  // Writes the end record; nothing may be put after it.
  void finish();
  // The bytes that have come up since the last time.
  Bytes take() { return std::exchange(out_, {}); }

 private:
  void append_frame(const Record& record);

  Bytes out_;
  Hasher content_;
  uint64_t records_ = 0;
  bool finished_ = false;
};

// A whole stream. Fails with kDamaged for bytes that are not what was written, with kUnfit for a sound stream that this
// stint cannot read: another architecture, a newer format, a record that it does not know and that is required. A
// record that it does not know and that is not required is left out.
Result<std::vector<Record>> decode_stream(ByteView stream);

}  // namespace stint::image
