import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Sub-processes: short ones from a pool of threads, and a long one that is asked again and again over its pipes. */
public class Processes {
  static String output(int n) throws Exception {
    Process process = new ProcessBuilder("sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); done; echo $((i * " + n + ")); exit " + n % 8)
        .redirectErrorStream(true).start();
    process.getOutputStream().close();
    String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
    return text + " status " + process.waitFor();
  }

  public static void main(String[] arguments) throws Exception {
    int rounds = Integer.parseInt(arguments[0]);
    Process asked = new ProcessBuilder("awk", "{ s = 0; for (i = 0; i < 20000; i++) s = (s * 7 + $1 + i) % 1000003; print s; fflush() }").start();
    BufferedReader answers = new BufferedReader(new InputStreamReader(asked.getInputStream()));
    OutputStream questions = asked.getOutputStream();
    ExecutorService pool = Executors.newFixedThreadPool(3);
    StringBuilder log = new StringBuilder();
    for (int round = 0; round < rounds; round++) {
      List<Future<String>> results = new ArrayList<>();
      for (int i = 0; i < 6; i++) {
        int n = round * 6 + i;
        results.add(pool.submit(() -> output(n)));
      }
      questions.write((round + "\n").getBytes());
      questions.flush();
      log.append(round).append(": ").append(answers.readLine());
      for (Future<String> result : results) log.append(", ").append(result.get());
      log.append('\n');
    }
    questions.close();
    System.out.println("awk ended with " + asked.waitFor());
    pool.shutdown();
    Files.writeString(Path.of("log.txt"), log);
    System.exit(6);
  }
}
