-- A ledger of accounts in memory: recursive queries, a window function, an index, updates.
create table entry(id integer primary key, account integer, amount integer, note text);
with recursive n(i, x) as (
  select 1, 12345 union all
  select i + 1, (x * 1103515245 + 12345) & 2147483647 from n where i < @SIZE@)
insert into entry select i, x % 997, (x >> 8) % 2001 - 1000, printf('%x', x) from n;
create index by_account on entry(account, amount);
select count(*), sum(amount), sum(length(note)) from entry;
update entry set amount = amount + (select count(*) from entry e where e.account = entry.account and e.amount = entry.amount)
  where id % 7 = 0;
select account, sum(amount), max(running) from (
  select account, amount, sum(amount) over (partition by account order by id) as running from entry)
  group by account order by 2 desc limit 40;
delete from entry where amount < 0;
select count(*), sum(amount) from entry;
