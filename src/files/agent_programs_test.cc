// Real programs under the agent: they print what they print without it, they follow their children, nothing is lost.
#include <unistd.h>

#include "files/agent_job.h"

namespace stint::files {
namespace {

struct Case {
  const char* name;
  std::vector<std::string> command;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.name; }

const char kPython[] = R"(
import os, subprocess, sys, threading, sqlite3, tempfile
print(sorted(k for k in os.environ), sys.argv)
print(subprocess.run(['env'], capture_output=True, text=True, env={'A': '1'}).stdout)
print(subprocess.run('echo $((6*7)); env | sort', shell=True, capture_output=True, text=True).stdout)
print(os.popen('echo through popen').read(), os.system('true'))
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    os.execv('/bin/sh', ['sh', '-c', 'env | sort; exit 3'])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
with tempfile.TemporaryFile() as file:
    os.dup2(file.fileno(), 99)
    os.write(99, b'x' * 1000)
    print(os.fstat(file.fileno()).st_size)
database = sqlite3.connect(':memory:')
print(database.execute('select sum(value) from (select 1 as value union select 2)').fetchall())
threads = [threading.Thread(target=lambda: [open('/dev/null').close() for _ in range(500)]) for _ in range(4)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
try: open('/does/not/exist')
except OSError as error: print(error)
)";

const char kBash[] = R"(
set -o pipefail
seq 1 2000 | sort -n | awk '{sum += $1} END {print sum}'
env | sort | grep -v '^_='
exec 7</etc/passwd; head -c 5 <&7; exec 8<&7 7<&-; read -r line <&8; echo "$line"
(cd /; pwd; env -i /bin/sh -c 'echo inside'); echo $(true | false; echo $?)
for i in 1 2 3; do (exit $i) & wait $!; echo $?; done
while read -r word; do echo "<$word>"; done < <(printf 'a\nb\n')
cat <<< "here" > redirected; cat redirected
/does/not/exist; echo $?
)";

const char kPerl[] = R"(
print join(",", sort keys %ENV), "\n";
open(my $in, "<", "/etc/passwd") or die; my $first = <$in>; print $first;
open(my $copy, "<&", $in) or die; print scalar(<$copy>) ? "duplicate\n" : "end\n";
print `echo backquotes; env | sort | grep -v ^_=`;
system("echo", "system"); open(my $pipe, "-|", "echo pipe") or die; print <$pipe>;
local $ENV{LD_PRELOAD} = "/lib/x86_64-linux-gnu/libm.so.6"; print `env | grep ^LD_`;
$| = 1; exec("/bin/echo", "the end");
)";

const char kNode[] = R"(
const { execFileSync, execSync } = require('child_process'), fs = require('fs');
console.log(Object.keys(process.env).sort().join());
console.log(fs.readFileSync('/etc/passwd', 'utf8').split('\n')[0]);
console.log(execFileSync('env', { env: { PATH: '/usr/bin', A: '1' } }).toString());
console.log(execSync('echo shell; env | sort | grep -v ^_=').toString());
const worker = new (require('worker_threads').Worker)('require("fs").readFileSync("/etc/passwd")', { eval: true });
worker.on('exit', (code) => console.log('worker', code));
)";

const char kJava[] = R"(
import java.nio.file.*;
public class Probe {
  public static void main(String[] arguments) throws Exception {
    System.out.println(new java.util.TreeSet<>(System.getenv().keySet()));
    System.out.println(Files.readAllLines(Path.of("/etc/passwd")).get(0));
    ProcessBuilder builder = new ProcessBuilder("env");
    builder.environment().clear();
    builder.environment().put("A", "1");
    System.out.print(new String(builder.start().getInputStream().readAllBytes()));
    System.out.println(java.util.stream.LongStream.range(0, 2_000_000).parallel().map(x -> x * x % 7).sum());
  }
}
)";

const char kAwk[] = R"(BEGIN { while (("env | sort" | getline line) > 0) print line; system("pwd") })";

class AgentIsInvisible : public testing::TestWithParam<Case> {};

TEST_P(AgentIsInvisible, ToThisProgram) {
  AgentJob job;
  const std::vector<std::string>& command = GetParam().command;
  if (access(command[0].c_str(), X_OK) != 0) GTEST_SKIP() << command[0] << " is not installed";
  std::string source = job.path("Probe.java");
  ASSERT_TRUE(sys::write_all(sys::open(source, O_WRONLY | O_CREAT, 0600).value().get(), bytes_of(kJava)).has_value());
  std::vector<std::string> environment{"PATH=/usr/bin:/bin", "HOME=" + job.directory(), "LANG=C"};

  Outcome plain = job.run_plainly(command, environment);
  Outcome with_agent = job.run(command, environment);
  EXPECT_EQ(with_agent.status, plain.status);
  EXPECT_EQ(with_agent.out, plain.out);
  EXPECT_EQ(with_agent.err, plain.err);
  EXPECT_FALSE(plain.out.empty());
  EXPECT_NE(job.ledger().find(with_agent.pid), nullptr);
  EXPECT_EQ(job.ledger().lost, 0u);
}

// As jemalloc does, and so redis.
TEST(AgentPrograms, MayNeedThreadLocalStorageAtAFixedPlace) {
  AgentJob job;
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{job.program("agent_static_tls")},
        {"/bin/sh", "-c", job.program("agent_static_tls") + "; env -i " + job.program("agent_static_tls")}}) {
    Outcome outcome = job.run(command);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Programs, AgentIsInvisible,
    testing::Values(Case{"python3", {"/usr/bin/python3", "-c", kPython}}, Case{"bash", {"/bin/bash", "-c", kBash}},
                    Case{"perl", {"/usr/bin/perl", "-e", kPerl}}, Case{"node", {"/usr/bin/node", "-e", kNode}},
                    Case{"java", {"/usr/bin/java", "Probe.java"}}, Case{"awk", {"/usr/bin/awk", kAwk}}),
    [](const testing::TestParamInfo<Case>& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace stint::files
