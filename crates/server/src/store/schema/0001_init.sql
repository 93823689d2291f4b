-- Written for SQLite; `postgres.rs` says how it is read for PostgreSQL, where a `partition` leads every key that begins with
-- the workspace. What must be unique among all workspaces is in tables that name an `owner` instead.
-- Times are microseconds since 1970 in UTC, credits and money (minor units) are integers, '' stands for "no label".

create table meta (
  name text not null primary key,
  value text not null
) without rowid;

create table workspace (
  workspace integer not null,
  name text not null,
  plan text,
  plan_credits integer,
  terms text,
  next_plan text,
  subscription integer,
  awaited integer,
  trialed integer not null,
  collection text not null,
  time_zone text not null,
  admin_email text,
  external_id text,
  request text,
  low text not null,
  critical text not null,
  emails text not null,
  anchor integer not null,
  first_period integer not null,
  next_period integer,
  created_at integer not null,
  strategy text,
  constraint workspace_key primary key (workspace)
);
create index workspace_next_period on workspace (next_period) where next_period is not null and awaited is null;

create table external_id (
  external_id text not null primary key,
  owner integer not null
) without rowid;

create table account (
  workspace integer not null,
  seq integer not null,
  at integer not null,
  available integer not null,
  held integer not null,
  debt integer not null,
  hash blob not null,
  level integer not null,
  low_armed integer not null,
  critical_armed integer not null,
  low_mailed_at integer,
  critical_mailed_at integer,
  out_since integer,
  restored_at integer,
  needed integer,
  constraint account_key primary key (workspace),
  constraint account_not_negative check (available >= 0 and held >= 0 and debt >= 0)
);
create index account_waiting on account (workspace) where out_since is not null or needed is not null;

create table "grant" (
  workspace integer not null,
  id integer not null,
  kind integer not null,
  priority integer not null,
  effective_at integer not null,
  expires_at integer,
  granted_at integer not null,
  revoked_at integer,
  granted integer not null,
  scheduled integer not null,
  available integer not null,
  held integer not null,
  consumed integer not null,
  expired integer not null,
  revoked integer not null,
  repaid integer not null,
  constraint grant_key primary key (workspace, id),
  constraint grant_whole check (granted = scheduled + available + held + consumed + expired + revoked + repaid)
) without rowid;
create index grant_scheduled on "grant" (effective_at, workspace) where scheduled > 0;
create index grant_expiring on "grant" (expires_at, workspace) where available > 0 and expires_at is not null;

-- Holds that are open, or were when a page with their entries was written. Others are what the entries in their page say.
create table hold (
  workspace integer not null,
  id integer not null,
  status integer not null,
  opened_at integer not null,
  operation text not null,
  quantity integer not null,
  unit_price integer not null,
  version integer not null,
  epoch integer not null,
  parts text not null,
  ends_at integer not null,
  settled integer not null,
  attempted integer not null,
  refunded integer not null,
  release_reason integer,
  ended_at integer,
  campaign text not null,
  member text not null,
  channel text not null,
  reference text not null,
  lead text not null,
  constraint hold_key primary key (workspace, id)
) without rowid;
create index hold_open on hold (workspace, ends_at) where status < 3;

-- Batches in the order of their commits. Entries that their account's row does not know of are not in the tables below yet.
create table journal (
  partition integer not null,
  id integer not null,
  body blob not null,
  constraint journal_key primary key (partition, id)
);

-- Entries, as many of a workspace as were written together, and their free text beside them. `seq` and `hash` are the last one's.
-- The key has their operations, so that pages without one that is looked for are passed by without being read; not on PostgreSQL.
create table page (
  workspace integer not null,
  seq integer not null,
  first_seq integer not null,
  first_at integer not null,
  last_at integer not null,
  operations text not null,
  hash blob not null,
  entries blob not null,
  notes blob not null,
  constraint page_key primary key (workspace, seq, operations)
);

-- Idempotency keys in segments, in order: many in a row, under the name of the first.
create table request (
  partition integer not null,
  segment integer not null,
  first blob not null,
  keys blob not null,
  constraint request_key primary key (partition, segment, first)
) without rowid;

create table request_segment (
  partition integer not null,
  segment integer not null,
  filter blob not null,
  constraint request_segment_key primary key (partition, segment)
);

create table usage (
  workspace integer not null,
  slot integer not null,
  operation text not null,
  campaign text not null,
  member text not null,
  channel text not null,
  quantity integer not null,
  credits integer not null,
  not_charged integer not null,
  refunded integer not null,
  refunded_credits integer not null,
  constraint usage_key primary key (workspace, slot, operation, campaign, member, channel)
) without rowid;

create table period (
  workspace integer not null,
  number integer not null,
  starts_at integer not null,
  ends_at integer not null,
  credits integer not null,
  begins integer not null,
  grant_id integer not null,
  constraint period_key primary key (workspace, number)
) without rowid;

-- One row for each payment object of the provider, whatever it is for. Money is in minor units, tax included.
create table payment (
  workspace integer not null,
  id integer not null,
  purpose integer not null,
  item text not null,
  label text not null,
  quantity integer not null,
  credits integer not null,
  bonus integer not null,
  expires_days integer,
  terms text,
  amount integer not null,
  tax integer not null,
  currency text not null,
  status integer not null,
  reason text,
  return_url text,
  checkout text,
  checkout_url text,
  object text,
  attempts integer not null,
  next_attempt integer,
  grant_id integer,
  bonus_grant integer,
  refunded integer not null,
  undone integer not null,
  disputed integer not null,
  reinstated integer not null,
  taken integer not null,
  moves integer not null,
  receipt integer,
  created_at integer not null,
  paid_at integer,
  ended_at integer,
  constraint payment_key primary key (workspace, id)
) without rowid;
create index payment_due on payment (next_attempt) where next_attempt is not null;
create index payment_open on payment (id) where status in (0, 5);

-- What we asked to be given back, in order: the credits that the money stands for are exact, not pro rata.
create table refund (
  workspace integer not null,
  payment integer not null,
  number integer not null,
  amount integer not null,
  credits integer not null,
  failed integer not null,
  reason text not null,
  at integer not null,
  constraint refund_key primary key (workspace, payment, number)
) without rowid;

-- Credits bought by themselves when fewer than `below` are left. `due_at`: when that is looked at next; `payment`: the open
-- episode; `told`: the period whose ceiling was told of.
create table auto_buy (
  workspace integer not null,
  enabled integer not null,
  below integer not null,
  pack text not null,
  most integer not null,
  due_at integer,
  payment integer,
  told integer,
  constraint auto_buy_key primary key (workspace)
);
create index auto_buy_due on auto_buy (due_at) where due_at is not null;

-- Whose a provider's checkout session, payment object or customer is, and of which payment.
create table provider_object (
  object text not null primary key,
  owner integer not null,
  number integer
) without rowid;

-- How a workspace pays: its customer at the provider, and the saved method.
create table payer (
  workspace integer not null,
  customer text,
  method text,
  method_label text,
  constraint payer_key primary key (workspace)
) without rowid;

create table notice (
  workspace integer not null,
  id integer not null,
  kind text not null,
  at integer not null,
  title text not null,
  body text not null,
  read_at integer,
  constraint notice_key primary key (workspace, id)
) without rowid;

create table outbox (
  workspace integer not null,
  id integer not null,
  due_at integer not null,
  recipient text not null,
  subject text not null,
  body text not null,
  attempts integer not null,
  status integer not null,
  notice integer not null,
  detail text,
  constraint outbox_key primary key (workspace, id)
) without rowid;
create index outbox_due on outbox (due_at) where status = 0;

-- `scope`: 0 read, 1 charge, 2 manage. `used_at` is written now and then, not with every use.
create table api_key (
  id integer not null primary key,
  owner integer not null,
  hash blob not null,
  label text not null,
  scope integer not null,
  created_at integer not null,
  used_at integer,
  revoked_at integer
);
create index api_key_owner on api_key (owner);

-- `way`: 0 by a signed link of the host product or the server; by themselves: 1 by a mailed link, 2 by a password, 3 by the
-- identity provider.
create table session (
  hash blob not null primary key,
  id integer not null,
  owner integer,
  role integer not null,
  email text,
  way integer not null,
  agent text not null,
  created_at integer not null,
  seen_at integer not null,
  expires_at integer not null
) without rowid;
create index session_email on session (email) where email is not null;

create table lead (
  workspace integer not null,
  id integer not null,
  external_id text,
  name text not null,
  title text not null,
  company text not null,
  linkedin_url text,
  email text,
  email_state integer not null,
  fields text not null,
  replied_at integer,
  created_at integer not null,
  constraint lead_key primary key (workspace, id)
) without rowid;
create unique index lead_external_id on lead (workspace, external_id) where external_id is not null;
create unique index lead_email on lead (workspace, email) where email is not null;
create unique index lead_linkedin_url on lead (workspace, linkedin_url) where linkedin_url is not null;

create table block (
  workspace integer not null,
  entry text not null,
  created_at integer not null,
  constraint block_key primary key (workspace, entry)
) without rowid;

create table job (
  workspace integer not null,
  id integer not null,
  kind integer not null,
  name text not null,
  definition text not null,
  stage integer not null,
  ran integer not null,
  running_since integer,
  served integer not null,
  rests_until integer not null,
  credit_cap integer,
  credits_used integer not null,
  credits_held integer not null,
  requested integer not null,
  delivered integer not null,
  duplicates integer not null,
  cursor text,
  detail text,
  created_at integer not null,
  launched_at integer,
  ended_at integer,
  constraint job_key primary key (workspace, id)
) without rowid;
create index job_running on job (workspace) where running_since is not null;
-- Whose turn it is: of those that do not rest, the one that was looked at longest ago.
create index job_turn on job (rests_until, served) where running_since is not null;

create table pause (
  workspace integer not null,
  job integer not null,
  reason integer not null,
  since integer not null,
  needed integer,
  available integer,
  by text,
  until integer,
  constraint pause_key primary key (workspace, job, reason)
) without rowid;

create table work (
  workspace integer not null,
  job integer not null,
  lead integer not null,
  position integer not null,
  due integer,
  epoch integer not null,
  lease_until integer not null,
  hold integer,
  state integer not null,
  attempts integer not null,
  cost integer,
  sender integer not null,
  slot_day integer,
  detail text,
  constraint work_key primary key (workspace, job, lead)
) without rowid;
create index work_due on work (workspace, job, due) where due is not null;
create index work_hold on work (workspace, hold) where hold is not null;
create index work_lead on work (workspace, lead);
-- Where a lead stands, and whose turn it is to send to it; what is at work; what waits for credits, or for a person.
create index work_place on work (workspace, job, position, sender, due) where due is not null;
create index work_slot on work (workspace, job) where slot_day is not null;
create index work_cost on work (workspace, job, due) where cost is not null;
create index work_person on work (workspace, job, lead) where state in (1, 6);

create table step_result (
  workspace integer not null,
  job integer not null,
  step integer not null,
  lead integer not null,
  outcome integer not null,
  hold integer,
  sender integer,
  at integer not null,
  detail text,
  constraint step_result_key primary key (workspace, job, step, lead)
) without rowid;

create table message (
  workspace integer not null,
  id integer not null,
  job integer not null,
  lead integer not null,
  step integer not null,
  text text not null,
  hold integer,
  credits integer not null,
  written integer not null,
  review integer not null,
  created_at integer not null,
  changed_at integer not null,
  edited_at integer,
  approved_at integer,
  approved_by text,
  constraint message_key primary key (workspace, id)
) without rowid;
create unique index message_step on message (workspace, job, lead, step);

-- Where a host product is told of what happens. `events` is empty for all kinds, or their names between commas. `status`: 0 enabled,
-- 1 disabled by somebody, 2 because nobody answered for days. `old_secret` signs beside `secret` until `old_until`.
create table webhook_endpoint (
  workspace integer not null,
  id integer not null,
  url text not null,
  description text not null,
  events text not null,
  secret blob not null,
  old_secret blob,
  old_until integer,
  status integer not null,
  failing_since integer,
  created_at integer not null,
  constraint webhook_endpoint_key primary key (workspace, id)
) without rowid;

create table webhook_event (
  workspace integer not null,
  seq integer not null,
  kind text not null,
  at integer not null,
  data text not null,
  constraint webhook_event_key primary key (workspace, seq)
) without rowid;

create table webhook_delivery (
  workspace integer not null,
  endpoint integer not null,
  seq integer not null,
  status integer not null,
  attempts integer not null,
  due_at integer not null,
  attempted_at integer,
  answer integer,
  detail text,
  constraint webhook_delivery_key primary key (workspace, endpoint, seq)
) without rowid;
create index webhook_delivery_due on webhook_delivery (due_at) where status = 0;

-- Who may come into a workspace by themselves. A person is an address in lower case; `role`: 0 member, 1 admin.
create table member (
  owner integer not null,
  email text not null,
  role integer not null,
  created_at integer not null,
  seen_at integer,
  constraint member_key primary key (owner, email)
) without rowid;
create index member_email on member (email);

-- Links that were mailed and are not used yet: the digest of each one's token.
create table sign_in (
  hash blob not null primary key,
  email text not null,
  expires_at integer not null
) without rowid;
create index sign_in_email on sign_in (email);

-- What people changed besides the ledger, which keeps its own reasons: who, what, and what it was before and after.
create table logbook (
  workspace integer not null,
  id integer not null,
  at integer not null,
  actor text not null,
  what text not null,
  subject text not null,
  before text,
  after text,
  constraint logbook_key primary key (workspace, id)
) without rowid;
create index logbook_id on logbook (id);

create table doubt (
  workspace integer not null,
  hold integer not null,
  at integer not null,
  constraint doubt_key primary key (workspace, hold)
) without rowid;
create index doubt_at on doubt (at);
create index outbox_failed on outbox (id) where status = 2;

-- What was answered first under a key, where it cannot be made again from what it changed.
create table answer (
  workspace integer not null,
  kind integer not null,
  key text not null,
  body text not null,
  constraint answer_key primary key (workspace, kind, key)
) without rowid;

-- Whom a workspace sends from. `access` is the address of a mail server with its password, sealed; `taken` counts what went
-- out on the local day `day`, and `next_at` keeps the spacing.
create table sender (
  workspace integer not null,
  id integer not null,
  kind integer not null,
  address text not null,
  account text,
  server text,
  access blob,
  daily_limit integer not null,
  hours text,
  spacing integer not null,
  active integer not null,
  day integer not null,
  taken integer not null,
  next_at integer not null,
  created_at integer not null,
  constraint sender_key primary key (workspace, id)
) without rowid;

-- How many credits may be used. `label` is empty for the workspace, and for each campaign or member on its own. Work that one
-- of them refused is paused `until` one begins anew.
create table budget (
  workspace integer not null,
  id integer not null,
  scope integer not null,
  label text not null,
  per integer not null,
  credits integer not null,
  constraint budget_key primary key (workspace, id)
) without rowid;
create index pause_until on pause (until) where until is not null;

-- The zones that a workspace was in before: its statements of months that have ended stay as they are.
create table zone (
  workspace integer not null,
  until integer not null,
  time_zone text not null,
  constraint zone_key primary key (workspace, until)
) without rowid;

-- Tokens that show a balance in a host product's pages, with their sites between spaces. One that is revoked is deleted.
create table embed_token (
  workspace integer not null,
  id integer not null,
  origins text not null,
  created_at integer not null,
  expires_at integer not null,
  constraint embed_token_key primary key (workspace, id)
) without rowid;
create index embed_token_ends on embed_token (workspace, expires_at);

-- How people sign in without a mail: a hash, which says its salt and cost.
create table password (
  email text not null primary key,
  hash text not null,
  changed_at integer not null
) without rowid;

-- Who tried a password lately: the digest of an address or of a network.
create table sign_in_attempt (
  subject blob not null,
  id integer not null,
  expires_at integer not null,
  constraint sign_in_attempt_key primary key (subject, id)
) without rowid;
create index sign_in_attempt_ends on sign_in_attempt (expires_at);

-- Names that leads have among their fields: a text of a campaign that names another one has a gap for everybody.
create table lead_field (
  workspace integer not null,
  name text not null,
  constraint lead_field_key primary key (workspace, name)
) without rowid;

-- What providers were asked under a hold, by the number in the idempotency key. `heard`: 0 found, 1 nothing, 2 failed, 3 refused, 4 later,
-- 5 unknown, 6 not asked. `cost` is in millionths of the operator's currency. `kept` is what may serve if nobody has better.
create table call (
  workspace integer not null,
  hold integer not null,
  number integer not null,
  job integer not null,
  lead integer not null,
  operation text not null,
  field text not null,
  provider text not null,
  heard integer not null,
  units integer not null,
  cost integer not null,
  detail text not null,
  kept text,
  at integer not null,
  constraint call_key primary key (workspace, hold, number)
) without rowid;
create index call_lead on call (workspace, lead, hold) where lead > 0;

-- The sums of calls, by days of UTC since 1970.
create table call_day (
  workspace integer not null,
  day integer not null,
  operation text not null,
  provider text not null,
  calls integer not null,
  found integer not null,
  cost integer not null,
  constraint call_day_key primary key (workspace, day, operation, provider)
) without rowid;
create index call_day_day on call_day (day);

-- Where answers and bounces to a sender's mail come in. `validity` and `last`: the server's numbering, and the last mail of it that
-- was read.
create table mailbox (
  workspace integer not null,
  sender integer not null,
  server text not null,
  access blob not null,
  due_at integer not null,
  validity integer not null,
  last integer not null,
  looked_at integer,
  failures integer not null,
  detail text,
  constraint mailbox_key primary key (workspace, sender)
) without rowid;
create index mailbox_due on mailbox (due_at);

-- Pauses that are over. A job's own history, read by nobody who decides.
create table past_pause (
  workspace integer not null,
  job integer not null,
  since integer not null,
  reason integer not null,
  lifted_at integer not null,
  needed integer,
  by text,
  constraint past_pause_key primary key (workspace, job, since, reason)
) without rowid;
