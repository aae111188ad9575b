# A person's hands: each key that must have had its effect before the next is waited for on the screen or in the file.
set -e
export TERM=xterm TMUX_TMPDIR="$PWD"

tm() { tmux -f /dev/null -L editing "$@"; }

screen_shows() {
  until tm capture-pane -p -t "$1" | grep -q "$2"; do sleep 0.02; done
}

tm new-session -d -x 100 -y 30 -s s 'vim -u NONE -N -n -i NONE text'
screen_shows s:0.0 '^~'
n=0
while [ $n -lt "$1" ]; do
  n=$((n + 1))
  tm send-keys -t s:0.0 Go "line $n of vim" Escape
  tm send-keys -t s:0.0 ":s/vim/edi" "tor/" Enter yyp ":w" Enter
  until [ "$(tail -n 1 text 2> /dev/null)" = "line $n of editor" ] && [ "$(wc -l < text)" = $((2 * n + 1)) ]; do sleep 0.02; done
done
tm split-window -t s:0 "sh -c 'i=0; while [ \$i -lt 300 ]; do i=\$((i + 1)); echo count \$i; done; read line; exit 3'"
screen_shows s:0.1 'count 300'
tm capture-pane -p -t s:0.1 > counted
tm send-keys -t s:0.1 Enter
tm send-keys -t s:0.0 gg0
screen_shows s:0.0 'line 1 of editor'
tm resize-window -t s:0 -x 80 -y 24
tm list-windows -F '#{window_width} #{window_height}'
tm send-keys -t s:0.0 ':wq' Enter
while tm has-session -t s 2> /dev/null; do sleep 0.02; done
cksum text
rm -rf tmux-*
