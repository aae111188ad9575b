// What is in one IPC namespace is made again in another, with the ids it had.
#include "ipc/objects.h"

#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "image/memory_stream.h"
#include "sys/file.h"
#include "sys/memory.h"
#include "sys/mqueue.h"
#include "sys/namespace.h"
#include "sys/process.h"
#include "sys/sysv.h"

namespace stint::ipc {
namespace {

constexpr int kRefusedHere = 77;

// Runs `body` in a child that has an IPC namespace of its own; what it returns.
int in_own_namespace(const std::function<int()>& body) {
  pid_t child = ::fork();
  if (child == 0) {
    uid_t uid = sys::effective_user();
    gid_t gid = sys::effective_group();
    if (!sys::unshare(CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWNS).has_value()) ::_exit(kRefusedHere);
    if (!sys::map_own_ids(uid, gid).has_value()) ::_exit(kRefusedHere);
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool make_some() {
  if (::shmget(IPC_PRIVATE, 100, 0600) < 0) return false;  // Its place is given to nobody else.
  int segment = ::shmget(0x101, 5000, IPC_CREAT | 0640);
  char* at = static_cast<char*>(::shmat(segment, nullptr, 0));
  ::strcpy(at + 4096, "content");
  ::shmdt(at);
  int set = ::semget(0x102, 3, IPC_CREAT | 0600);
  std::vector<uint16_t> values{1, 0, 32767};
  int queue = ::msgget(0x103, IPC_CREAT | 0622);
  struct {
    long type = 9;
    char text[5] = {'h', 'e', 'l', 'l', 'o'};
  } message;
  mqd_t posix = ::mq_open("/some", O_CREAT | O_RDWR, 0600, nullptr);
  return sys::set_semaphore_values(set, values).has_value() && ::msgsnd(queue, &message, 5, 0) == 0 &&
         ::msgsnd(queue, &message, 0, 0) == 0 && ::mq_send(posix, "posix", 5, 3) == 0;
}

Result<Objects> make_and_look(int file) {
  if (!make_some()) return failed("could not make them");
  Objects objects = TRY(look_at_objects(TRY(sys::message_queue_directory()).get()));
  TRY(sys::pwrite_all(file, image::encode(objects), 0));
  return objects;
}

// The same objects, and the content of a segment, where they were made from the description.
std::string made_again(const Objects& objects) {
  image::MemoryStream stream;
  std::unique_ptr<image::PageBuffer> page = std::move(*stream.page_buffer());
  std::memcpy(page->data(), "content", 8);
  uint64_t space = image::kObjectSpace | image::kSysvSegment | static_cast<uint64_t>(objects.segments[1].owner.id);
  if (!stream.put_pages({{space, 4096, 4096}}, std::move(page)).has_value()) return "put_pages";
  if (Result<> made = make_objects(objects, stream); !made.has_value()) return made.error().text();
  Result<sys::UniqueFd> queues = sys::message_queue_directory();
  if (!queues.has_value()) return queues.error().text();
  Result<Objects> again = look_at_objects(queues->get());
  if (!again.has_value()) return again.error().text();
  if (image::encode(*again) != image::encode(objects)) return "they differ";
  Result<void*> at = sys::attach_segment(objects.segments[1].owner.id, true);
  if (!at.has_value()) return at.error().text();
  return std::strcmp(static_cast<char*>(*at) + 4096, "content") == 0 ? "" : "the content differs";
}

TEST(IpcObjects, AreMadeAgainInAnotherNamespaceAsTheyWere) {
  sys::UniqueFd file = std::move(*sys::anonymous_file("test"));
  int looked = in_own_namespace([&] {
    Result<Objects> objects = make_and_look(file.get());
    if (!objects.has_value()) ::fprintf(stderr, "%s\n", objects.error().text().c_str());
    return objects.has_value() ? 0 : 1;
  });
  if (looked == kRefusedHere) GTEST_SKIP() << "this user may have no user namespace here";
  ASSERT_EQ(looked, 0);
  Bytes bytes(static_cast<size_t>((*sys::fstat(file.get())).st_size));
  ASSERT_TRUE(sys::pread_all(file.get(), bytes, 0).has_value());
  Result<Objects> objects = image::decode<Objects>(bytes);
  ASSERT_TRUE(objects.has_value()) << objects.error().text();
  ASSERT_EQ(objects->segments.size(), 2u);
  ASSERT_EQ(objects->queues.size(), 1u);
  EXPECT_EQ(objects->queues[0].messages.size(), 2u);
  ASSERT_EQ(objects->posix_queues.size(), 1u);
  EXPECT_EQ(objects->posix_queues[0].messages.size(), 1u);
  int made = in_own_namespace([&] {
    std::string wrong = made_again(*objects);
    if (!wrong.empty()) ::fprintf(stderr, "%s\n", wrong.c_str());
    return wrong.empty() ? 0 : 1;
  });
  EXPECT_EQ(made, 0);
}

}  // namespace
}  // namespace stint::ipc
