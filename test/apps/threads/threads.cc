// Two hundred threads pass numbers round rings of mailboxes (a mutex and a condition variable each), with timeouts that do
// and do not run out; sixteen more share a reader-writer lock. What is printed does not depend on who ran when.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

constexpr int kThreads = 200;
constexpr int kRings = 10;
constexpr int kPerRing = kThreads / kRings;
constexpr int kApart = 5;  // A letter for every fifth mailbox of a ring.

struct Mailbox {
  std::mutex mutex;
  std::condition_variable filled, emptied;
  bool full = false;
  uint64_t letter = 0;

  void put(uint64_t value) {
    std::unique_lock lock(mutex);
    while (!emptied.wait_for(lock, 5ms, [this] { return !full; })) {}
    letter = value;
    full = true;
    filled.notify_one();
  }
  uint64_t take() {
    std::unique_lock lock(mutex);
    while (!filled.wait_for(lock, 20ms, [this] { return full; })) {}
    full = false;
    emptied.notify_one();
    return letter;
  }
};

Mailbox boxes[kThreads];
uint64_t sums[kThreads];
thread_local uint64_t own = 0;

void member(int number, int rounds) {
  int ring = number / kPerRing;
  int next = ring * kPerRing + (number + 1) % kPerRing;
  own = 0x9E3779B97F4A7C15u * (number + 1);
  if (number % kApart == 0) boxes[next].put(ring + 1);
  for (int round = 0; round < rounds; round++) {
    uint64_t letter = boxes[number].take();
    own = (own ^ letter) * 0xBF58476D1CE4E5B9u + round;
    boxes[next].put(letter + (own >> 60));
  }
  if (number % kApart == 1) boxes[number].take();
  sums[number] = own;
}

int main(int argc, char** argv) {
  int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) threads.emplace_back(member, i, rounds);

  std::shared_mutex lock;
  uint64_t shared = 1;
  std::vector<std::thread> writers;
  for (int i = 0; i < 16; i++) {
    writers.emplace_back([&, i] {
      for (int n = 0; n < rounds; n++) {
        if (i % 4 == 0) {
          std::unique_lock writing(lock);
          shared += i + 1;
        } else {
          std::shared_lock reading(lock);
          if (shared == 0) std::abort();
        }
        std::this_thread::sleep_for(100us);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::thread& thread : writers) thread.join();
  for (int i = 0; i < kThreads; i++) std::printf("%d %016lx\n", i, sums[i]);
  std::printf("shared %lu\n", shared);
}
