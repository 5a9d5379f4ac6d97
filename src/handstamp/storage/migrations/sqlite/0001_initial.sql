-- Times are milliseconds since 1970, UTC; roles, amr and detail are JSON. No token and no hash of a token stands in any table.

CREATE TABLE account (
  id              TEXT    NOT NULL PRIMARY KEY,
  email           TEXT    NOT NULL UNIQUE,
  email_verified  INTEGER NOT NULL CHECK (email_verified IN (0, 1)),
  password_hash   TEXT    NOT NULL,
  roles           TEXT    NOT NULL,
  epoch           INTEGER NOT NULL CHECK (epoch >= 0),
  disabled_at_ms  INTEGER,
  created_at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a session, written in place at each refresh: the row is the session's whole memory.
CREATE TABLE session (
  id                   TEXT    NOT NULL PRIMARY KEY,
  subject              TEXT    NOT NULL,
  epoch                INTEGER,
  generation           INTEGER NOT NULL CHECK (generation >= 0),
  rotated_at_ms        INTEGER NOT NULL,
  recovered_at_ms      INTEGER,
  expires_at_ms        INTEGER NOT NULL,
  idle_lifetime_ms     INTEGER NOT NULL CHECK (idle_lifetime_ms > 0),
  revoked_at_ms        INTEGER,
  revoked_why          TEXT CHECK (revoked_why IN ('logout', 'logout_everywhere', 'reuse', 'password_changed', 'disabled', 'admin')),
  delivery             TEXT    NOT NULL CHECK (delivery IN ('json', 'split', 'cookie')),
  authenticated_at_ms  INTEGER NOT NULL,
  amr                  TEXT    NOT NULL,
  user_agent           TEXT    NOT NULL,
  ip                   TEXT    NOT NULL,
  created_at_ms        INTEGER NOT NULL,
  seen_at_ms           INTEGER NOT NULL,
  CHECK ((revoked_at_ms IS NULL) = (revoked_why IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX session_by_subject ON session (subject, ip);
CREATE INDEX session_by_end ON session (expires_at_ms);

-- Private keys are sealed with the master secret, which is not in the database.
CREATE TABLE signing_key (
  kid             TEXT    NOT NULL PRIMARY KEY,
  algorithm       TEXT    NOT NULL CHECK (algorithm IN ('ES256', 'Ed25519', 'RS256', 'HS256')),
  sealed          BLOB    NOT NULL,
  created_at_ms   INTEGER NOT NULL,
  active_from_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Failed sign-ins, under keyed hashes of address and network: what people type by mistake is not kept.
CREATE TABLE failure (
  key         TEXT    NOT NULL PRIMARY KEY,
  count       INTEGER NOT NULL CHECK (count > 0),
  last_at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX failure_by_age ON failure (last_at_ms);

-- The audit trail: rows are added with the write that they describe, and never changed.
CREATE TABLE event (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms    INTEGER NOT NULL,
  kind     TEXT    NOT NULL,
  subject  TEXT,
  sid      TEXT,
  ip       TEXT    NOT NULL,
  detail   TEXT    NOT NULL
) STRICT;

CREATE INDEX event_by_age ON event (at_ms);
CREATE INDEX event_by_subject ON event (subject, id);
CREATE INDEX event_by_session ON event (sid, id);
