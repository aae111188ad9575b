#include "image/record_kinds.h"

#include "image/fd_records.h"
#include "image/file_records.h"
#include "image/inet_records.h"
#include "image/ipc_records.h"
#include "image/json.h"
#include "image/memory_records.h"
#include "image/page_index.h"
#include "image/stream.h"
#include "image/task_records.h"

namespace stint::image {
namespace {

using Json = nlohmann::ordered_json;

template <class R>
Result<Json> print(ByteView payload, BytesAs bytes) {
  return to_json(TRY(decode<R>(payload)), bytes);
}

// The ledger has a format of its own (abi/ledger.h).
Result<Json> print_size(ByteView payload, BytesAs /*bytes*/) { return Json{{"bytes", payload.size()}}; }

constexpr RecordKind kKinds[] = {
    {RecordType::kEnd, "end", 1, print<EndRecord>},
    {RecordType::kJob, "job", 1, print<JobRecord>},
    {RecordType::kProcess, "process", 1, print<ProcessRecord>},
    {RecordType::kThread, "thread", 1, print<ThreadRecord>},
    {RecordType::kZombie, "zombie", 1, print<ZombieRecord>},
    {RecordType::kMappedFile, "mapped_file", 1, print<MappedFileRecord>},
    {RecordType::kVma, "mapping", 1, print<VmaRecord>},
    {RecordType::kSharedMemory, "shared_memory", 1, print<SharedMemoryRecord>},
    {RecordType::kAioRing, "aio_ring", 1, print<AioRingRecord>},
    {RecordType::kDescriptor, "descriptor", 1, print<DescriptorRecord>},
    {RecordType::kClosedEnd, "closed_end", 1, print<ClosedEndRecord>},
    {RecordType::kFileState, "file_state", 1, print<FileStateRecord>},
    {RecordType::kAgent, "agent", 1, print_size},
    {RecordType::kSysvSegment, "sysv_segment", 1, print<SegmentRecord>},
    {RecordType::kSysvMessageQueue, "sysv_message_queue", 1, print<MessageQueueRecord>},
    {RecordType::kSysvSemaphoreSet, "sysv_semaphore_set", 1, print<SemaphoreSetRecord>},
    {RecordType::kPosixQueue, "posix_queue", 1, print<PosixQueueRecord>},
    {RecordType::kPageIndex, "page_index", 1, print<PageIndexRecord>},
    {RecordType::kRegularFile, "regular_file", 1, print<RegularFileRecord>},
    {RecordType::kDirectory, "directory", 1, print<DirectoryRecord>},
    {RecordType::kCharDevice, "char_device", 1, print<CharDeviceRecord>},
    {RecordType::kTerminal, "terminal", 1, print<TerminalRecord>},
    {RecordType::kPipe, "pipe", 1, print<PipeRecord>},
    {RecordType::kFifo, "fifo", 1, print<PipeRecord>},
    {RecordType::kUnixSocket, "unix_socket", 1, print<UnixSocketRecord>},
    {RecordType::kEventfd, "eventfd", 1, print<EventfdRecord>},
    {RecordType::kTimerfd, "timerfd", 1, print<TimerfdRecord>},
    {RecordType::kSignalfd, "signalfd", 1, print<SignalfdRecord>},
    {RecordType::kEpoll, "epoll", 1, print<EpollRecord>},
    {RecordType::kMemfd, "memfd", 1, print<MemfdRecord>},
    {RecordType::kInotify, "inotify", 1, print<InotifyRecord>},
    {RecordType::kPidfd, "pidfd", 1, print<PidfdRecord>},
    {RecordType::kPathOnly, "path_only", 1, print<PathOnlyRecord>},
    {RecordType::kMqueue, "mqueue", 1, print<MqueueRecord>},
    {RecordType::kPtyMaster, "pty_master", 1, print<PtyRecord>},
    {RecordType::kPtySlave, "pty_slave", 1, print<PtyRecord>},
    {RecordType::kKernelFile, "kernel_file", 1, print<KernelFileRecord>},
    {RecordType::kTcp, "tcp", 1, print<TcpRecord>},
    {RecordType::kUdp, "udp", 1, print<UdpRecord>},
    {RecordType::kNetlink, "netlink", 1, print<NetlinkRecord>},
    {RecordType::kStandardStream, "standard_stream", 1, print<StandardStreamRecord>},
};

}  // namespace

std::span<const RecordKind> record_kinds() { return kKinds; }

const RecordKind* find_kind(uint32_t number) {
  for (const RecordKind& kind : kKinds)
    if (static_cast<uint32_t>(kind.type) == number) return &kind;
  return nullptr;
}

}  // namespace stint::image
