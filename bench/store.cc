// How fast a checkpoint's pages are written and read, against what this machine can do at all: each line is the best of
// several rounds, and the rounds of all lines are interleaved, so that the ratios hold on a noisy machine too.
//   bench_store [DIRECTORY] [MiB] [ROUNDS] [random|half]
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>

#include "store/reader.h"
#include "store/verify.h"
#include "store/writer.h"
#include "sys/file.h"
#include "sys/memory.h"

namespace {

using namespace stint;

constexpr size_t kPiece = image::kPageBufferSize;

template <class T>
T must(Result<T> result) {
  if (result.has_value()) return std::move(*result);
  fmt::print(stderr, "bench_store: {}\n", result.error().text());
  std::exit(1);
}
void must(Result<> result) {
  if (result.has_value()) return;
  fmt::print(stderr, "bench_store: {}\n", result.error().text());
  std::exit(1);
}

// A process that holds memory and sleeps, as a stopped program would.
class Holder {
 public:
  explicit Holder(ByteView memory) : memory_(memory) {
    process_ = fork();
    if (process_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  ~Holder() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  void copy_out(size_t from, std::byte* to, size_t size) const {
    iovec local{to, size}, remote{const_cast<std::byte*>(memory_.data()) + from, size};
    if (process_vm_readv(process_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size)) return;
    fmt::print(stderr, "bench_store: process_vm_readv: {}\n", strerror(errno));
    std::exit(1);
  }
  size_t size() const { return memory_.size(); }

 private:
  ByteView memory_;
  pid_t process_ = -1;
};

struct Line {
  std::string name;
  std::function<double()> once;  // seconds
  double best = 1e9;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double plain_write(const std::string& directory, ByteView memory) {
  std::string path = directory + "/plain";
  double start = now();
  sys::UniqueFd file = must(sys::open(path, O_CREAT | O_EXCL | O_WRONLY, 0600));
  for (size_t at = 0; at < memory.size(); at += kPiece) must(sys::write_all(file.get(), memory.subspan(at, kPiece)));
  double took = now() - start;
  must(sys::unlink(path));
  return took;
}

// Until all is in the page cache and the checkpoint has its name; `put_until` is when the copying thread had handed
// over the last block: how long the program would stand still.
double checkpoint(const std::string& directory, const Holder& holder, const char* compression, double* put_until) {
  store::WriteOptions options{.compression = must(store::parse_compression(compression)), .durable = false};
  double start = now();
  std::unique_ptr<store::Writer> writer = must(store::Writer::create(directory, options));
  for (size_t at = 0; at < holder.size(); at += kPiece) {
    std::unique_ptr<image::PageBuffer> buffer = must(writer->page_buffer());
    holder.copy_out(at, buffer->data(), kPiece);
    must(writer->put_pages({{1, 0x10000 + at, kPiece}}, std::move(buffer)));
  }
  if (put_until != nullptr) *put_until = std::min(*put_until, now() - start);
  must(writer->commit());
  double took = now() - start;
  std::string path = writer->path();
  writer.reset();
  must(sys::remove_tree(path));
  return took;
}

double read_back(const std::string& path, std::byte* to) {
  double start = now();
  std::unique_ptr<store::Reader> reader = must(store::Reader::open(path));
  for (const image::Source::Block& block : reader->blocks(1))
    must(reader->read(block, to + (block.runs.front().offset - 0x10000)));
  return now() - start;
}

// Half of it random, half of it words that come again: what compresses to about a half.
void fill(std::span<std::byte> memory, bool compressible) {
  std::mt19937_64 random(1);
  for (size_t at = 0; at < memory.size(); at += 8) {
    uint64_t value = random();
    if (compressible && value % 2 == 0) value &= 0xff00ff;
    std::memcpy(memory.data() + at, &value, 8);
  }
}

std::vector<Line> lines(const std::string& directory, sys::Mapping& memory, sys::Mapping& scratch, const Holder& holder,
                        const std::string& kept, double* put_until) {
  std::vector<Line> all;
  all.push_back({"memcpy", [&] {
                   double start = now();
                   std::memcpy(scratch.data(), memory.data(), memory.size());
                   return now() - start;
                 }});
  all.push_back({"process_vm_readv", [&] {
                   double start = now();
                   for (size_t at = 0; at < memory.size(); at += kPiece) holder.copy_out(at, scratch.data(), kPiece);
                   return now() - start;
                 }});
  all.push_back({"write()", [&, directory] { return plain_write(directory, memory.bytes()); }});
  for (const char* how : {"none", "lz4", "zstd:1", "zstd:3"})
    all.push_back({std::string("checkpoint ") + how, [&, directory, how, put_until] {
                     return checkpoint(directory + "/checkpoints", holder, how,
                                       strcmp(how, "none") == 0 ? put_until : nullptr);
                   }});
  all.push_back({"pread", [&, kept] {
                   sys::UniqueFd file = must(sys::open(kept + "/pages", O_RDONLY));
                   double start = now();
                   must(sys::pread_all(file.get(), {scratch.data(), memory.size()}, 0));
                   return now() - start;
                 }});
  all.push_back({"read and verify, one thread", [&, kept] { return read_back(kept, scratch.data()); }});
  all.push_back({"verify, all threads", [kept] {
                   double start = now();
                   must(store::verify(kept, {}));
                   return now() - start;
                 }});
  return all;
}

void run(const std::string& directory, size_t size, int rounds, bool compressible) {
  sys::Mapping memory = must(sys::map_huge(size)), scratch = must(sys::map_huge(size));
  fill({memory.data(), size}, compressible);
  std::memset(scratch.data(), 1, size);
  Holder holder(memory.bytes());
  std::unique_ptr<store::Writer> writer = must(store::Writer::create(
      directory + "/kept", {.compression = must(store::parse_compression("none")), .durable = false}));
  for (size_t at = 0; at < size; at += kPiece) {
    std::unique_ptr<image::PageBuffer> buffer = must(writer->page_buffer());
    std::memcpy(buffer->data(), memory.data() + at, kPiece);
    must(writer->put_pages({{1, 0x10000 + at, kPiece}}, std::move(buffer)));
  }
  must(writer->commit());
  double put_until = 1e9;
  std::vector<Line> all = lines(directory, memory, scratch, holder, writer->path(), &put_until);
  for (int round = 0; round < rounds; ++round)
    for (Line& line : all) line.best = std::min(line.best, line.once());
  double write_time = all[2].best;
  fmt::print("{} MiB, {}\n{:32} {:>8} {:>14}\n", size >> 20, compressible ? "half compressible" : "random", "", "GB/s",
             "of write()");
  for (const Line& line : all)
    fmt::print("{:32} {:8.2f} {:13.0f}%\n", line.name, static_cast<double>(size) / line.best / 1e9,
               100 * write_time / line.best);
  fmt::print("{:32} {:8.2f} {:13.0f}%\n\n", "checkpoint none, handed over", static_cast<double>(size) / put_until / 1e9,
             100 * write_time / put_until);
}

}  // namespace

int main(int argc, char** argv) {
  std::string directory = std::string(argc > 1 ? argv[1] : "/tmp") + "/stint-bench-" + std::to_string(getpid());
  size_t size = static_cast<size_t>(argc > 2 ? std::atoi(argv[2]) : 1024) << 20;
  int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  must(sys::make_directories(directory, 0700));
  std::string only = argc > 4 ? argv[4] : "";
  if (only != "half") run(directory, size, rounds, false);
  if (only != "random") run(directory, size, rounds, true);
  must(sys::remove_tree(directory));
  return 0;
}
