truncate holds, ledger, ws;
insert into ws select id, 1000000000, 0 from generate_series(1, 10000) id;
vacuum analyze ws;
checkpoint;
