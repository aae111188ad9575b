# Everything that is printed is the same in every run: numbers of transactions and sums that have to agree.
set -e
PATH=/usr/lib/postgresql/15/bin:$PATH
export PGHOST="$PWD" PGDATABASE=postgres PGDATA="$PWD/data" PGTZ=UTC

ask() {
  psql -XAtq -v ON_ERROR_STOP=1 -c "$1"
}

check() {
  ask "SELECT count(*) FROM pgbench_history"
  ask "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
              (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history),
              (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)"
}

initdb --no-sync --auth=trust --username=stint --encoding=UTF8 --locale=C > initdb.log
export PGUSER=stint
pg_ctl -w -l server.log -o "-c listen_addresses='' -c unix_socket_directories='$PWD' -c shared_buffers=16MB" start > ctl.log
pgbench -i -q -s 2 2> init.log
pgbench -n -c 4 -j 2 -t "$1" 2>> init.log | grep -E 'actually|failed transactions'
check
pg_ctl -w -m immediate stop >> ctl.log
pg_ctl -w -l server.log -o "-c listen_addresses='' -c unix_socket_directories='$PWD' -c shared_buffers=16MB" start >> ctl.log
check
pg_ctl -w -m fast stop >> ctl.log
grep -cE 'PANIC|invalid page|could not' server.log || true
rm -rf data ./*.log
