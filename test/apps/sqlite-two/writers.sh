# Whose row comes when is a matter of the scheduler; that none is lost or doubled is not.
set -e

statements() {
  echo '.timeout 60000'
  n=0
  while [ $n -lt $2 ]; do
    n=$((n + 1))
    echo "BEGIN IMMEDIATE; INSERT INTO entry(writer, n, text) VALUES ($1, $n, hex(zeroblob(200 + $n % 90)));" \
         "UPDATE account SET total = total + $n WHERE writer = $1; UPDATE account SET total = total + 1 WHERE writer = 0; COMMIT;"
  done
}

for mode in delete wal; do
  sqlite3 -batch data.db "PRAGMA journal_mode = $mode; CREATE TABLE entry(id INTEGER PRIMARY KEY, writer, n, text);
    CREATE TABLE account(writer PRIMARY KEY, total); INSERT INTO account VALUES (0, 0), (1, 0), (2, 0), (3, 0);"
  pids=
  for writer in 1 2 3; do
    statements $writer "$1" | sqlite3 -batch -bail data.db &
    pids="$pids $!"
  done
  for pid in $pids; do wait "$pid"; done
  sqlite3 -batch data.db "PRAGMA integrity_check; SELECT * FROM account ORDER BY writer;
    SELECT writer, count(*), sum(n), sum(length(text)) FROM entry GROUP BY writer; SELECT max(id) FROM entry;"
  rm -f data.db data.db-wal data.db-shm
done
