#include "job/state.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "sys/file.h"
#include "sys/process.h"

namespace stint::job {
namespace {

class JobDirectory : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/stint-job-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    home_ = path;
    setenv("STINT_HOME", path, 1);
  }
  void TearDown() override {
    EXPECT_TRUE(sys::remove_tree(home_));
    unsetenv("STINT_HOME");
  }
  std::string home_;
};

TEST_F(JobDirectory, what_is_written_is_read_back_whatever_bytes_it_holds) {
  Claim claim = *claim_job("name", false);
  Job job;
  job.name = claim.name;
  job.directory = claim.directory;
  job.arguments = {"prog", "", "\xff\x80 bytes", "\xc3\xa4", "line\nbreak"};
  job.working_directory = "/tmp/\xfe";
  job.uid = 4000000000;
  job.contained = true;
  job.root = {Pid{77}, uint64_t{1} << 60, JobPid{3}};
  job.streams[1] = {true, 5, uint64_t{1} << 63, 9, true, false};
  job.terminal_device = 34817;
  ASSERT_TRUE(write_job(job));
  Job back = *find_job("name");
  EXPECT_EQ(back.arguments, job.arguments);
  EXPECT_EQ(back.working_directory, job.working_directory);
  EXPECT_EQ(back.uid, job.uid);
  EXPECT_TRUE(back.contained);
  EXPECT_EQ(back.root.pid, job.root.pid);
  EXPECT_EQ(back.root.start_time, job.root.start_time);
  EXPECT_EQ(back.streams[1].inode, job.streams[1].inode);
  EXPECT_TRUE(back.streams[1].outside);
  EXPECT_EQ(back.terminal_device, job.terminal_device);
}

TEST_F(JobDirectory, a_name_is_claimed_by_one_at_a_time) {
  Claim first = *claim_job("sim", false);
  Result<Claim> second = claim_job("sim", false);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().text().find("another stint"), std::string::npos) << second.error().text();
  EXPECT_EQ(claim_job("sim", true)->name, "sim-2");
}

TEST_F(JobDirectory, a_job_that_is_claimed_and_not_written_yet_is_being_started) {
  Claim claim = *claim_job("sim", false);
  Result<Job> found = find_job("sim");
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().text().find("job sim is only just being started"), std::string::npos) << found.error().text();
  EXPECT_EQ(find_job("other").error().kind(), ErrorKind::kUsage);
}

TEST_F(JobDirectory, a_lock_that_is_given_back_is_free_though_a_copy_of_it_is_open) {
  Claim claim = *claim_job("shared", false);
  sys::UniqueFd copy(::dup(claim.lock.get()));  // As in a root that has not executed its program yet.
  EXPECT_FALSE(lock_job(claim.directory));
  unlock_job(std::move(claim.lock));
  EXPECT_TRUE(lock_job(claim.directory));
}

TEST_F(JobDirectory, a_lock_of_a_job_that_was_removed_meanwhile_is_no_lock) {
  Claim claim = *claim_job("gone", false);
  sys::UniqueFd old = *sys::open(claim.directory + "/lock", O_RDWR);
  ASSERT_TRUE(remove_job(claim.directory));
  EXPECT_EQ(lock_job(claim.directory).error().os_errno(), ENOENT);
  Claim again = *claim_job("gone", false);
  claim.lock.reset();
  EXPECT_TRUE(*sys::try_lock(old.get(), sys::Lock::kExclusive));
  EXPECT_FALSE(lock_job(again.directory));
}

TEST_F(JobDirectory, a_job_is_forgotten_only_by_its_own_supervisor_and_without_checkpoints) {
  Claim claim = *claim_job("sim", false);
  Job job;
  job.directory = claim.directory;
  job.stand_in = *member(Pid{sys::own_pid()}, JobPid{1});
  ASSERT_TRUE(write_job(job));
  claim.lock.reset();
  Job before = job;
  before.stand_in.start_time -= 1;
  ASSERT_TRUE(forget_job(before));
  ASSERT_TRUE(sys::make_directories(claim.directory + "/checkpoints/1", 0700));
  ASSERT_TRUE(forget_job(job));
  ASSERT_TRUE(read_job(claim.directory));
  ASSERT_TRUE(sys::remove_tree(claim.directory + "/checkpoints/1"));
  ASSERT_TRUE(sys::make_directories(claim.directory + "/checkpoints/1.partial", 0700));
  ASSERT_TRUE(forget_job(job));
  EXPECT_EQ(sys::stat(claim.directory).error().os_errno(), ENOENT);
}

TEST_F(JobDirectory, a_job_with_checkpoints_is_not_overwritten) {
  Claim claim = *claim_job("kept", false);
  claim.lock.reset();
  ASSERT_TRUE(sys::make_directories(claim.directory + "/checkpoints/3", 0700));
  ASSERT_TRUE(sys::make_directories(claim.directory + "/checkpoints/10", 0700));
  ASSERT_TRUE(sys::make_directories(claim.directory + "/checkpoints/11.partial", 0700));
  EXPECT_EQ(*list_checkpoints(claim.directory), (std::vector<int>{3, 10}));
  Result<Claim> again = claim_job("kept", false);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind(), ErrorKind::kUsage);
}

TEST_F(JobDirectory, a_process_is_known_by_its_start_time_too) {
  Member self = *member(Pid{sys::own_pid()}, JobPid{});
  EXPECT_TRUE(is_alive(self));
  self.start_time += 1;
  EXPECT_FALSE(is_alive(self));
  EXPECT_FALSE(is_alive(Member{}));
}

TEST_F(JobDirectory, the_ending_is_read_strictly) {
  Claim claim = *claim_job("ended", false);
  Job job;
  job.directory = claim.directory;
  auto with = [&](const std::string& text) {
    sys::UniqueFd file = *sys::open(claim.directory + "/status", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT_TRUE(sys::write_all(file.get(), bytes_of(text)));
    return ending_of(job);
  };
  EXPECT_EQ(with("exited 3\n")->exit_status(), 3);
  EXPECT_EQ(with("killed 9\n")->exit_status(), 137);
  EXPECT_FALSE(with(""));
  EXPECT_FALSE(with("exited"));
  EXPECT_FALSE(with("exited x\n"));
  EXPECT_FALSE(with("exited 3 4\n"));
  EXPECT_FALSE(with("vanished 3\n"));
}

TEST_F(JobDirectory, the_marker_of_a_checkpoint_that_stopped_it_goes_before_the_next_run) {
  Claim claim = *claim_job("marked", false);
  Job job;
  job.directory = claim.directory;
  EXPECT_FALSE(stopped_by(claim.directory));
  ASSERT_TRUE(mark_stopped(job, 12));
  EXPECT_EQ(stopped_by(claim.directory), 12);
  ASSERT_TRUE(clear_ending(claim.directory));
  EXPECT_FALSE(stopped_by(claim.directory));
  EXPECT_TRUE(clear_ending(claim.directory));
}

TEST_F(JobDirectory, the_marker_means_nothing_when_the_job_went_on_and_ended_by_itself) {
  Claim claim = *claim_job("went-on", false);
  Job job;
  job.directory = claim.directory;
  ASSERT_TRUE(mark_stopped(job, 12));
  ASSERT_TRUE(write_ending(claim.directory, {.killed = true, .value = SIGKILL}));
  EXPECT_EQ(stopped_by(claim.directory), 12);
  ASSERT_TRUE(write_ending(claim.directory, {.killed = false, .value = 0}));
  EXPECT_FALSE(stopped_by(claim.directory));
  ASSERT_TRUE(write_ending(claim.directory, {.killed = true, .value = SIGTERM}));
  EXPECT_FALSE(stopped_by(claim.directory));
}

TEST(JobName, must_be_plain_and_no_number) {
  for (const char* good : {"a", "ngspice", "run-3", "x.y_z+1", "3d"}) EXPECT_TRUE(check_name(good)) << good;
  for (const char* bad : {"", ".", "..", "a/b", "-x", ".x", "12", "a b", "\xc3\xa4", "a@1"}) {
    EXPECT_FALSE(check_name(bad)) << bad;
  }
  EXPECT_FALSE(check_name(std::string(65, 'a')));
}

TEST(JobName, is_made_from_the_program_and_is_stable_where_it_must_be) {
  EXPECT_EQ(name_for({"/usr/bin/ngspice", "-b"}, "/tmp", false), "ngspice");
  EXPECT_EQ(name_for({"./a b"}, "/tmp", false), "a_b");
  EXPECT_TRUE(check_name(name_for({"/x/..."}, "/tmp", false)));
  std::string name = name_for({"sim", "1"}, "/tmp", true);
  EXPECT_EQ(name, name_for({"sim", "1"}, "/tmp", true));
  EXPECT_NE(name, name_for({"sim", "2"}, "/tmp", true));
  EXPECT_NE(name, name_for({"sim", "1"}, "/home", true));
  EXPECT_TRUE(check_name(name_for({std::string(300, 'x')}, "/tmp", true)));
}

TEST_F(JobDirectory, the_state_directory_is_known_by_its_path_without_links) {
  ASSERT_TRUE(sys::mkdir(home_ + "/real", 0700));
  ASSERT_TRUE(sys::symlink("real", home_ + "/link"));
  for (const char* path : {"/link", "/link/", "/./link/../real"}) {
    setenv("STINT_HOME", (home_ + path).c_str(), 1);
    EXPECT_EQ(*state_directory(), home_ + "/real") << path;
  }
  setenv("STINT_HOME", (home_ + "/link/not/there/").c_str(), 1);
  EXPECT_EQ(*state_directory(), home_ + "/real/not/there");
  setenv("STINT_HOME", "/", 1);
  EXPECT_EQ(*state_directory(), "/");
}

TEST_F(JobDirectory, what_a_start_has_left_is_garbage_only_without_job_and_checkpoint_and_when_it_is_old) {
  std::string directory = claim_job("cut", false)->directory;
  auto make_old = [&] {
    timespec old[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, directory.c_str(), old, 0), 0);
  };
  EXPECT_FALSE(*is_cut_start(directory));
  make_old();
  EXPECT_TRUE(*is_cut_start(directory));
  ASSERT_TRUE(sys::make_directories(directory + "/checkpoints/1", 0700));
  make_old();
  EXPECT_FALSE(*is_cut_start(directory));
  ASSERT_TRUE(sys::remove_tree(directory + "/checkpoints"));
  Job job;
  job.name = "cut", job.directory = directory;
  ASSERT_TRUE(write_job(job));
  make_old();
  EXPECT_FALSE(*is_cut_start(directory));
}

}  // namespace
}  // namespace stint::job
