import java.io.PrintWriter;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicLong;

/** Several threads compute on a lattice, make garbage for the collector, and meet at a barrier; a timer ticks beside them. */
public class Lattice {
  static final int SIZE = 160, WORKERS = 4;
  static long[] now = new long[SIZE * SIZE], next = new long[SIZE * SIZE];

  static void rows(int from, int to) {
    for (int y = from; y < to; y++)
      for (int x = 0; x < SIZE; x++) {
        long up = now[(y + SIZE - 1) % SIZE * SIZE + x], left = now[y * SIZE + (x + SIZE - 1) % SIZE];
        long mixed = now[y * SIZE + x] * 6364136223846793005L + Long.rotateLeft(up, 17) - (left ^ x * 31L + y);
        next[y * SIZE + x] = mixed;
      }
  }

  static int garbage(int round) {
    Map<String, List<Integer>> map = new HashMap<>();
    for (int i = 0; i < 3000; i++) map.computeIfAbsent("k" + (i * 7 + round) % 211, k -> new ArrayList<>()).add(i);
    return map.values().stream().mapToInt(list -> list.stream().mapToInt(Integer::intValue).sum() % 1009).sum();
  }

  public static void main(String[] args) throws Exception {
    int rounds = Integer.parseInt(args[0]);
    for (int i = 0; i < now.length; i++) now[i] = i * 0x9E3779B97F4A7C15L;
    AtomicLong ticks = new AtomicLong();
    ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor();
    clock.scheduleAtFixedRate(ticks::incrementAndGet, 10, 10, TimeUnit.MILLISECONDS);
    ExecutorService pool = Executors.newFixedThreadPool(WORKERS);
    try (PrintWriter log = new PrintWriter("lattice.log")) {
      for (int round = 0; round < rounds; round++) {
        List<Future<Integer>> parts = new ArrayList<>();
        for (int w = 0; w < WORKERS; w++) {
          final int worker = w, r = round;
          parts.add(pool.submit(() -> {
            rows(worker * SIZE / WORKERS, (worker + 1) * SIZE / WORKERS);
            return garbage(r * WORKERS + worker);
          }));
        }
        long sum = 0;
        for (Future<Integer> part : parts) sum = sum * 31 + part.get();
        long[] swap = now;
        now = next;
        next = swap;
        if (round % 20 == 0) {
          log.println(round + " " + sum + " " + Arrays.hashCode(now));
          System.out.println(round + " " + Long.toHexString(now[round % now.length]));
        }
      }
    }
    pool.shutdown();
    clock.shutdown();
    if (!clock.awaitTermination(10, TimeUnit.SECONDS)) throw new IllegalStateException("the clock does not stop");
    System.out.println("ticked " + (ticks.get() > 0) + ", hash " + Arrays.hashCode(now));
    System.exit(5);
  }
}
