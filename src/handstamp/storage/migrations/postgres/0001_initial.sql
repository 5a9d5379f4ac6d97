-- Times are milliseconds since 1970, UTC; roles, amr, granted and detail are JSON, which no query looks into. No token and no hash
-- of a token stands in any table.

CREATE TABLE account (
  id              text     NOT NULL PRIMARY KEY,
  email           text     NOT NULL UNIQUE,
  email_verified  smallint NOT NULL CHECK (email_verified IN (0, 1)),
  password_hash   text     NOT NULL,
  roles           text     NOT NULL,
  epoch           bigint   NOT NULL CHECK (epoch >= 0),
  disabled_at_ms  bigint,
  created_at_ms   bigint   NOT NULL
);

-- One row a session, written in place at each refresh: the row is the session's whole memory. What a refresh changes stands in no
-- index, and a page keeps room for the next version of its rows, so that the indexes need not be touched (heap-only tuples).
CREATE TABLE session (
  id                   text    NOT NULL PRIMARY KEY,
  subject              text    NOT NULL,
  epoch                bigint,
  generation           bigint  NOT NULL CHECK (generation >= 0),
  rotated_at_ms        bigint  NOT NULL,
  recovered_at_ms      bigint,
  expires_at_ms        bigint  NOT NULL,
  idle_lifetime_ms     bigint  NOT NULL CHECK (idle_lifetime_ms > 0),
  revoked_at_ms        bigint,
  revoked_why          text CHECK (revoked_why IN ('logout', 'logout_everywhere', 'reuse', 'password_changed', 'disabled', 'admin')),
  delivery             text    NOT NULL CHECK (delivery IN ('json', 'split', 'cookie')),
  authenticated_at_ms  bigint  NOT NULL,
  amr                  text    NOT NULL,
  user_agent           text    NOT NULL,
  ip                   text    NOT NULL,
  created_at_ms        bigint  NOT NULL,
  seen_at_ms           bigint  NOT NULL,
  granted              text    NOT NULL DEFAULT '{}',
  CHECK ((revoked_at_ms IS NULL) = (revoked_why IS NULL))
) WITH (fillfactor = 70);

CREATE INDEX session_by_subject ON session (subject, ip);
CREATE INDEX session_by_end ON session (expires_at_ms);

-- Private keys are sealed with the master secret, which is not in the database.
CREATE TABLE signing_key (
  kid             text   NOT NULL PRIMARY KEY,
  algorithm       text   NOT NULL CHECK (algorithm IN ('ES256', 'Ed25519', 'RS256', 'HS256')),
  sealed          bytea  NOT NULL,
  created_at_ms   bigint NOT NULL,
  active_from_ms  bigint NOT NULL
);

-- Failed sign-ins, under keyed hashes of address and network: what people type by mistake is not kept.
CREATE TABLE failure (
  key         text   NOT NULL PRIMARY KEY,
  count       bigint NOT NULL CHECK (count > 0),
  last_at_ms  bigint NOT NULL
);

CREATE INDEX failure_by_age ON failure (last_at_ms);

-- The audit trail: rows are added with the write that they describe, and never changed.
CREATE TABLE event (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms    bigint NOT NULL,
  kind     text   NOT NULL,
  subject  text,
  sid      text,
  ip       text   NOT NULL,
  detail   text   NOT NULL
);

CREATE INDEX event_by_age ON event (at_ms);
CREATE INDEX event_by_subject ON event (subject, id);
CREATE INDEX event_by_session ON event (sid, id);

-- Which sessions' and keys' tokens are void, for as long as one of them could still hold. seq is given while an advisory lock is held
-- that falls with the transaction, so it grows in the order of commits. The last row is never deleted: a reader's place is found again.
CREATE TABLE revocation (
  seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind   text   NOT NULL CHECK (kind IN ('sid', 'kid')),
  name   text   NOT NULL,
  exp_s  bigint NOT NULL,
  UNIQUE (kind, name)
);

CREATE INDEX revocation_by_end ON revocation (exp_s);

-- Nobody's session: it gives an empty table a last row, of a name that no other database has.
INSERT INTO revocation (kind, name, exp_s) VALUES ('sid', replace(gen_random_uuid()::text, '-', ''), 0);

-- Other services' credentials.
CREATE TABLE client (
  id             text   NOT NULL PRIMARY KEY,
  name           text   NOT NULL UNIQUE,
  secret_hash    bytea  NOT NULL,
  created_at_ms  bigint NOT NULL
);
