-- What a careful team writes by hand: one row per workspace, a hold with its key, a ledger line per step.
create table ws (
    id bigint primary key,
    available bigint not null check (available >= 0),
    held bigint not null check (held >= 0)
);

create table holds (
    id bigint generated always as identity primary key,
    key uuid not null unique,
    ws bigint not null references ws (id),
    state smallint not null,
    amount bigint not null
);

create table ledger (
    id bigint generated always as identity primary key,
    ws bigint not null,
    kind smallint not null,
    amount bigint not null,
    key uuid not null,
    at timestamptz not null default now()
);

-- The same two transactions, each as one function call: one round trip instead of four or five.
create function hold(w bigint, n bigint) returns uuid language plpgsql as $$
declare k uuid := gen_random_uuid();
begin
    update ws set available = available - n, held = held + n where id = w and available >= n;
    if not found then raise exception 'insufficient credits'; end if;
    insert into holds (key, ws, state, amount) values (k, w, 0, n);
    insert into ledger (ws, kind, amount, key) values (w, 0, n, k);
    return k;
end $$;

create function settle(k uuid, n bigint) returns bigint language plpgsql as $$
declare w bigint;
declare left_over bigint;
begin
    update holds set state = 1 where key = k and state = 0 returning holds.ws into w;
    if not found then raise exception 'hold not open'; end if;
    update ws set held = held - n where id = w returning available into left_over;
    insert into ledger (ws, kind, amount, key) values (w, 1, -n, k);
    return left_over;
end $$;
