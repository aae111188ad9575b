# A person's hands: each line that must have had its effect before the next is waited for in a file or on the screen.
set -e
export TERM=xterm SCREENDIR="$PWD/sockets" PS1='> ' ENV=/dev/null
mkdir -m 700 sockets

sc() { screen -c /dev/null -S s "$@"; }

# A hardcopy is written by the server when it comes to it.
# The last line is the shell's: it has done what it was told, and waits.
screen_shows() {
  until sc -p "$1" -X hardcopy "$PWD/shown-$1" > /dev/null &&
    awk -v what="$2" '$0 ~ what { there = 1 } NF { last = $0 } END { exit !(there && last ~ /^> *$/) }' "shown-$1" 2> /dev/null
  do sleep 0.02; done
}

type_line() {
  sc -p "$1" -X stuff "$2$(printf '\r')"
}

sc -d -m sh
screen_shows 0 '^>'
sc -X screen -t second sh
screen_shows 1 '^>'
n=0
while [ $n -lt "$1" ]; do
  n=$((n + 1))
  type_line 0 "echo line $n | tee -a typed"
  type_line 1 "echo \$(($n * $n)) >> squares"
  until [ "$(tail -n 1 typed 2> /dev/null)" = "line $n" ] && [ "$(tail -n 1 squares 2> /dev/null)" = $((n * n)) ]; do sleep 0.02; done
done
type_line 1 "echo the last"
screen_shows 0 "^line $1"
screen_shows 1 '^the last'
type_line 1 exit
type_line 0 exit
while screen -ls s > /dev/null; do sleep 0.02; done
# What is typed before a prompt is shown is echoed before it: of the screens, only what the commands wrote.
grep '^line' shown-0 | tail -n 5
grep '^the last' shown-1
cksum typed squares
rm shown-0 shown-1
rm -r sockets
