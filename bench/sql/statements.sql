begin;
update ws set available = available - 2, held = held + 2 where id = :ws and available >= 2 returning available;
insert into holds (key, ws, state, amount) values (gen_random_uuid(), :ws, 0, 2) returning key \gset
insert into ledger (ws, kind, amount, key) values (:ws, 0, 2, :key);
commit;
begin;
update holds set state = 1 where key = :key and state = 0 returning ws;
update ws set held = held - 2 where id = :ws returning available;
insert into ledger (ws, kind, amount, key) values (:ws, 1, -2, :key);
commit;
