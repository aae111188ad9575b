// A file that the program is writing stands at restart as it stood at the checkpoint; what was written after a
// checkpoint that is restarted from is written again, and must be there once.
#include <stdio.h>
#include <sys/mman.h>

#include "test/live/program/descriptors.h"

namespace live {
namespace {

LIVE_TEST_THAT_NEEDS(growing_file_holds_every_line_once, Needs::kRollback) {
  const Scratch scratch;
  const Fd log = open_file(scratch.file("log"), O_WRONLY | O_CREAT);
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    write_all(log, line);
    expected += line;
    if (i % 100 == 50) freeze_point();
  }
  EXPECT_TRUE(read_whole(scratch.file("log")) == expected);
}

LIVE_TEST_THAT_NEEDS(file_appended_to_holds_every_line_once, Needs::kRollback) {
  const Scratch scratch;
  write_whole(scratch.file("log"), "header\n");
  const Fd log = open_file(scratch.file("log"), O_WRONLY | O_APPEND);
  std::string expected = "header\n";
  for (int i = 0; i < 200; ++i) {
    write_all(log, "appended\n");
    expected += "appended\n";
    if (i % 100 == 50) freeze_point();
  }
  EXPECT_TRUE(read_whole(scratch.file("log")) == expected);
}

LIVE_TEST_THAT_NEEDS(stdio_stream_to_a_file_holds_every_line_once, Needs::kRollback) {
  const Scratch scratch;
  FILE* stream = fopen(scratch.file("out").c_str(), "w");
  EXPECT_TRUE(stream != nullptr);
  std::string expected;
  for (int i = 0; i < 2000; ++i) {
    fprintf(stream, "%d squared is %d\n", i, i * i);
    expected += std::to_string(i) + " squared is " + std::to_string(i * i) + "\n";
    if (i % 500 == 250) freeze_point();
  }
  EXPECT_EQ(fclose(stream), 0);
  EXPECT_TRUE(read_whole(scratch.file("out")) == expected);
}

LIVE_TEST(file_mapped_shared_and_writable_keeps_what_was_stored) {
  const Scratch scratch;
  constexpr size_t kSize = 64 * 4096;
  write_whole(scratch.file("mapped"), std::string(kSize, '-'));
  const Fd file = open_file(scratch.file("mapped"), O_RDWR);
  char* memory = static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  std::string expected(kSize, '-');
  for (size_t i = 0; i < kSize; i += 1000) {
    memory[i] = static_cast<char>('a' + i % 26);
    expected[i] = memory[i];
    if (i % 100'000 == 50'000) freeze_point();
  }
  EXPECT_TRUE(std::string_view(memory, kSize) == expected);
  EXPECT_TRUE(read_whole(scratch.file("mapped")) == expected);
  munmap(memory, kSize);
}

LIVE_TEST(file_that_is_written_in_place_keeps_its_content) {
  const Scratch scratch;
  const std::string bytes = pattern(100'000);
  write_whole(scratch.file("table"), bytes);
  const Fd file = open_file(scratch.file("table"), O_RDWR);
  EXPECT_EQ(pwrite(file, "HEAD", 4, 0), 4);
  EXPECT_EQ(pwrite(file, "TAIL", 4, 99'996), 4);
  freeze_point();
  std::string expected = bytes;
  expected.replace(0, 4, "HEAD").replace(99'996, 4, "TAIL");
  EXPECT_TRUE(read_whole(scratch.file("table")) == expected);
}

LIVE_TEST(file_cut_to_a_length_keeps_that_length) {
  const Scratch scratch;
  const Fd file = open_file(scratch.file("cut"), O_RDWR | O_CREAT);
  write_all(file, pattern(10'000));
  EXPECT_OK(ftruncate(file, 1234));
  freeze_point();
  EXPECT_EQ(stat_of(file).st_size, 1234);
  EXPECT_EQ(lseek(file, 0, SEEK_CUR), 10'000);
  EXPECT_TRUE(read_whole(scratch.file("cut")) == pattern(10'000).substr(0, 1234));
}

LIVE_TEST(file_made_and_closed_before_the_cut_is_still_there) {
  const Scratch scratch;
  write_whole(scratch.file("result"), "done");
  freeze_point();
  EXPECT_EQ(read_whole(scratch.file("result")), "done");
  EXPECT_OK(rename(scratch.file("result").c_str(), scratch.file("final").c_str()));
  freeze_point();
  EXPECT_EQ(read_whole(scratch.file("final")), "done");
}

}  // namespace
}  // namespace live
