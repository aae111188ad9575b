# Job control without a terminal, pipelines, here-documents, process substitution, traps: all that a batch script does.
set -m
rounds=$1

count_to() {
  local i=0 sum=0
  while ((i < $1)); do ((i += 1, sum = (sum * 31 + i) % 1000003)); done
  echo "$2 $sum"
}

trap 'echo "told by USR1" >> told.txt' USR1
trap 'echo "end of the script" >> told.txt' EXIT

for ((round = 1; round <= rounds; round++)); do
  count_to 9000 a > "a.$round" &
  first=$!
  (count_to 7000 b; exit 3) > "b.$round" &
  second=$!
  seq 1 4000 | while read -r n; do echo $((n * n % 997)); done | sort -n | uniq -c | tee "squares.$round" | tail -n 3
  wait $first; echo "first ended with $?"
  wait $second; echo "second ended with $?"
  diff <(sort "a.$round") <(sort "b.$round" | tr b a) > "diff.$round"; echo "diff says $?"
  tr a-z A-Z <<END
here-document of round $round
END
  sleep 60 &
  sleeper=$!
  # Killed before it has become its program, it would run our trap.
  until [[ $(< /proc/$sleeper/comm) = sleep ]]; do :; done
  kill -STOP %%; kill -CONT %%; kill -TERM $sleeper
  wait $sleeper; echo "sleeper ended with $?"
  kill -USR1 $$
  echo "round $round: $(cat a.$round b.$round | cksum)" >> log.txt
done
coproc { while read -r line; do echo "<$line>"; done; }
for word in one two three; do echo $word >&"${COPROC[1]}"; read -r back <&"${COPROC[0]}"; echo "$back"; done
exit 17
