# What an interactive shell does: jobs in the foreground and background of a terminal, sizes, echo, its own terminal modes.
set -m
tty > /dev/null && echo "a terminal it is"
for ((n = 1; n <= $1; n++)); do
  (for ((i = 0; i < 300; i++)); do :; done; exit $((n % 7))) &
  printf 'round %d\t' "$n"
  expr "$n" \* 17
  stty cols $((80 + n % 40)); stty size
  wait $!
  echo "background ended with $?"
done
stty -echo; stty -a | tr ' ' '\n' | grep -x -e '-\?echo;\?'; stty echo
ps -o stat= -p $$ | cut -c1
exit 9
