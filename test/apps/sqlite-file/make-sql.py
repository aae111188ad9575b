"""Writes the SQL of a database on disk that is written all over: inserts, updates and deletes in many transactions."""
import sys

rounds = int(sys.argv[1])
print("pragma journal_mode = delete;\npragma cache_size = 200;")
print("create table part(id integer primary key, bin integer, stock integer, name text);")
print("create index by_bin on part(bin);")
state = 99
for n in range(rounds):
    print("begin;")
    for _ in range(40):
        state = (state * 69069 + 1) & 0xFFFFFFFF
        key = state >> 11
        print(f"insert or replace into part values({key % 50000}, {key % 211}, {key % 1000}, hex({key * key}));")
    print(f"update part set stock = stock - 1, name = name || '.' where bin = {n % 211};")
    print(f"delete from part where id % 1009 = {n % 1009};")
    print("commit;")
    if n % 25 == 0:
        print("select count(*), sum(stock), sum(length(name)) from part;")
print("select bin, count(*), sum(stock) from part group by bin order by bin;")
print("pragma integrity_check;")
