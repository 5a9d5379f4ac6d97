-- Names that end in _ms are milliseconds since 1970, UTC; those that end in _s are seconds. roles, scopes, amr, granted, detail and details
-- are JSON, and no query reads inside them. No table holds a token, or the hash of a token of a session. Closed sets of words (reasons, kinds,
-- deliveries, algorithms) are defined in the code and not checked here, so that a new word needs no new table.

-- password_hash is '' if the person has no password; name and language are '' if they are unknown.
CREATE TABLE account (
  id              TEXT    NOT NULL PRIMARY KEY,
  email           TEXT    NOT NULL UNIQUE,
  email_verified  INTEGER NOT NULL CHECK (email_verified IN (0, 1)),
  name            TEXT    NOT NULL,
  language        TEXT    NOT NULL,
  password_hash   TEXT    NOT NULL,
  roles           TEXT    NOT NULL,
  epoch           INTEGER NOT NULL CHECK (epoch >= 0),
  disabled_at_ms  INTEGER,
  created_at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a session, written in place at each refresh. The row is all that is known of the session. network is that of ip.
-- impersonator_id and impersonator_sid repeat what is in impersonator, for the index. All are NULL unless an operator acts in it.
CREATE TABLE session (
  id                   TEXT    NOT NULL PRIMARY KEY,
  subject              TEXT    NOT NULL,
  epoch                INTEGER,
  client_id            TEXT    NOT NULL,
  generation           INTEGER NOT NULL CHECK (generation >= 0),
  rotated_at_ms        INTEGER NOT NULL,
  recovered_at_ms      INTEGER,
  expires_at_ms        INTEGER NOT NULL,
  idle_lifetime_ms     INTEGER NOT NULL CHECK (idle_lifetime_ms > 0),
  revoked_at_ms        INTEGER,
  revoked_why          TEXT,
  delivery             TEXT    NOT NULL,
  authenticated_at_ms  INTEGER NOT NULL,
  amr                  TEXT    NOT NULL,
  acr                  TEXT,
  bound_key            TEXT,
  bound_by             TEXT,
  bound_at_ms          INTEGER,
  bind_by_ms           INTEGER,
  device               TEXT    NOT NULL,
  impersonator         TEXT,
  impersonator_id      TEXT,
  impersonator_sid     TEXT,
  user_agent           TEXT    NOT NULL,
  ip                   TEXT    NOT NULL,
  network              TEXT    NOT NULL,
  created_at_ms        INTEGER NOT NULL,
  seen_at_ms           INTEGER NOT NULL,
  granted              TEXT    NOT NULL,
  CHECK ((revoked_at_ms IS NULL) = (revoked_why IS NULL)),
  CHECK ((bound_at_ms IS NULL) = (bound_key IS NULL)),
  CHECK ((bound_by IS NULL) = (bound_key IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX session_by_subject ON session (subject, network);
CREATE INDEX session_by_end ON session (expires_at_ms);
CREATE INDEX session_unrevoked ON session (subject, expires_at_ms, id, revoked_at_ms) WHERE revoked_at_ms IS NULL;
CREATE INDEX session_by_impersonator ON session (impersonator_id, impersonator_sid) WHERE impersonator_id IS NOT NULL;

-- Sign-outs everywhere that did not fit into one transaction. A row is deleted when all sessions of its sweep have ended.
CREATE TABLE sweep (
  id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  subject        TEXT    NOT NULL,
  why            TEXT    NOT NULL,
  at_ms          INTEGER NOT NULL,
  epoch          INTEGER,
  forgets        INTEGER NOT NULL CHECK (forgets IN (0, 1)),
  touched_at_ms  INTEGER NOT NULL
) STRICT;

-- Private keys are sealed with the master secret, which is not in the database.
CREATE TABLE signing_key (
  kid             TEXT    NOT NULL PRIMARY KEY,
  algorithm       TEXT    NOT NULL,
  sealed          BLOB    NOT NULL,
  created_at_ms   INTEGER NOT NULL,
  active_from_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Failed attempts, counted under keyed hashes of address, network and device. account is the keyed hash of the address, or NULL
-- for a count that belongs to no single account. What people type by mistake is not stored. level is thousandths of a failure.
CREATE TABLE failure (
  key              TEXT    NOT NULL PRIMARY KEY,
  account          TEXT,
  level            INTEGER NOT NULL CHECK (level >= 0),
  consecutive      INTEGER NOT NULL CHECK (consecutive > 0),
  last_at_ms       INTEGER NOT NULL,
  forgotten_at_ms  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX failure_by_account ON failure (account);
CREATE INDEX failure_by_end ON failure (forgotten_at_ms);

-- Changes that were just made, by keyed hashes of their requests, so that a request that is sent again gets the same answer.
CREATE TABLE receipt (
  key      TEXT    NOT NULL PRIMARY KEY,
  request  TEXT    NOT NULL,
  result   TEXT    NOT NULL,
  at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX receipt_by_age ON receipt (at_ms);

-- What links and codes of mails allow, once. link_hash and browser_hash are hashes of 256 random bits; code_hash is keyed, because
-- six digits could be searched. details holds what the purpose needs, such as the hash of the password of a sign-up.
CREATE TABLE one_time (
  id                  TEXT    NOT NULL PRIMARY KEY,
  purpose             TEXT    NOT NULL,
  email               TEXT    NOT NULL,
  account_id          TEXT,
  account_email       TEXT    NOT NULL,
  epoch               INTEGER,
  link_hash           BLOB    NOT NULL UNIQUE,
  code_hash           BLOB,
  browser_hash        BLOB    NOT NULL,
  created_at_ms       INTEGER NOT NULL,
  code_expires_at_ms  INTEGER NOT NULL,
  expires_at_ms       INTEGER NOT NULL,
  ip                  TEXT    NOT NULL,
  user_agent          TEXT    NOT NULL,
  looks               INTEGER NOT NULL CHECK (looks >= 0),
  used_at_ms          INTEGER,
  details             TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX one_time_by_browser ON one_time (browser_hash);
CREATE INDEX one_time_by_email ON one_time (email);
CREATE INDEX one_time_by_account ON one_time (account_id);
CREATE INDEX one_time_by_end ON one_time (expires_at_ms);

-- The authenticator app of an account. Its secret is sealed with the master secret. last_step is that of the last code that was used.
CREATE TABLE totp (
  account_id     TEXT    NOT NULL PRIMARY KEY,
  sealed         BLOB    NOT NULL,
  created_at_ms  INTEGER NOT NULL,
  last_step      INTEGER NOT NULL,
  used_at_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Passkeys. Their private keys never leave the authenticators. transports is JSON.
CREATE TABLE passkey (
  id             TEXT    NOT NULL PRIMARY KEY,
  account_id     TEXT    NOT NULL,
  handle         TEXT    NOT NULL,
  public_key     BLOB    NOT NULL,
  sign_count     INTEGER NOT NULL CHECK (sign_count >= 0),
  name           TEXT    NOT NULL,
  aaguid         TEXT    NOT NULL,
  transports     TEXT    NOT NULL,
  is_backed_up   INTEGER NOT NULL CHECK (is_backed_up IN (0, 1)),
  created_at_ms  INTEGER NOT NULL,
  used_at_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX passkey_by_account ON passkey (account_id);

-- What replaces a second factor once: hashes of 120 random bits.
CREATE TABLE recovery_code (
  account_id     TEXT    NOT NULL,
  hash           BLOB    NOT NULL,
  created_at_ms  INTEGER NOT NULL,
  used_at_ms     INTEGER,
  PRIMARY KEY (account_id, hash)
) STRICT, WITHOUT ROWID;

-- Whom accounts are at other providers of identities. A person is issuer and subject there, never an address.
CREATE TABLE identity (
  id             TEXT    NOT NULL PRIMARY KEY,
  issuer         TEXT    NOT NULL,
  subject        TEXT    NOT NULL,
  account_id     TEXT    NOT NULL,
  provider       TEXT    NOT NULL,
  email          TEXT    NOT NULL,
  created_at_ms  INTEGER NOT NULL,
  used_at_ms     INTEGER NOT NULL,
  UNIQUE (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX identity_by_account ON identity (account_id);

-- The tokens of providers, where the settings keep them. They are sealed with the master secret.
CREATE TABLE provider_token (
  issuer   TEXT    NOT NULL,
  subject  TEXT    NOT NULL,
  sealed   BLOB    NOT NULL,
  at_ms    INTEGER NOT NULL,
  PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX provider_token_by_age ON provider_token (at_ms);

-- The sessions that began at a provider, and which session they are there, so that signing out there ends them.
CREATE TABLE provider_session (
  sid            TEXT    NOT NULL PRIMARY KEY,
  issuer         TEXT    NOT NULL,
  subject        TEXT    NOT NULL,
  at_provider    TEXT    NOT NULL,
  expires_at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX provider_session_by_subject ON provider_session (issuer, subject, sid);
CREATE INDEX provider_session_by_name ON provider_session (issuer, at_provider, sid);
CREATE INDEX provider_session_by_end ON provider_session (expires_at_ms);

-- The logout tokens of providers that were accepted, until they expire, so that each has its effect once.
CREATE TABLE provider_logout (
  issuer         TEXT    NOT NULL,
  jti            TEXT    NOT NULL,
  subject        TEXT    NOT NULL,
  at_provider    TEXT    NOT NULL,
  at_ms          INTEGER NOT NULL,
  expires_at_ms  INTEGER NOT NULL,
  PRIMARY KEY (issuer, jti)
) STRICT, WITHOUT ROWID;

CREATE INDEX provider_logout_by_time ON provider_logout (issuer, at_ms);
CREATE INDEX provider_logout_by_end ON provider_logout (expires_at_ms);

-- Sign-ins between their steps, once something of them must not be repeated: codes that were looked at, and their success.
CREATE TABLE attempt (
  id             TEXT    NOT NULL PRIMARY KEY,
  account_id     TEXT    NOT NULL,
  expires_at_ms  INTEGER NOT NULL,
  tries          INTEGER NOT NULL CHECK (tries >= 0),
  enrolled       TEXT    NOT NULL,
  used_at_ms     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX attempt_by_account ON attempt (account_id);
CREATE INDEX attempt_by_end ON attempt (expires_at_ms);

-- The audit trail. Rows are added in the transaction of the write that they describe, and never changed.
CREATE TABLE event (
  id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  at_ms       INTEGER NOT NULL,
  kind        TEXT    NOT NULL,
  subject     TEXT,
  sid         TEXT,
  ip          TEXT    NOT NULL,
  user_agent  TEXT    NOT NULL,
  actor       TEXT    NOT NULL,
  operator    TEXT,
  detail      TEXT    NOT NULL
) STRICT;

CREATE INDEX event_by_age ON event (at_ms);
CREATE INDEX event_by_subject ON event (subject, id);
CREATE INDEX event_by_session ON event (sid, id);

-- The sessions and keys whose tokens are revoked, until the last such token has expired. seq grows in the order of commits,
-- because there is one writer at a time. The last row is never deleted, so that a reader's place in the feed is always found.
CREATE TABLE revocation (
  seq    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  kind   TEXT    NOT NULL,
  name   TEXT    NOT NULL,
  exp_s  INTEGER NOT NULL,
  UNIQUE (kind, name)
) STRICT;

CREATE INDEX revocation_by_end ON revocation (exp_s);

-- A first row that concerns no session. Its random name tells this database's feed from that of any other.
INSERT INTO revocation (kind, name, exp_s) VALUES ('sid', lower(hex(randomblob(16))), 0);

-- The credentials of other services.
CREATE TABLE credential (
  id             TEXT    NOT NULL PRIMARY KEY,
  name           TEXT    NOT NULL UNIQUE,
  secret_hash    BLOB    NOT NULL,
  created_at_ms  INTEGER NOT NULL,
  scopes         TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Mail that waits to be sent. A row is deleted once its mail is sent or given up. Address and content are sealed with the master
-- secret. next_at_ms is NULL for mail that is only shown in the development inbox.
CREATE TABLE mail (
  id             TEXT    NOT NULL PRIMARY KEY,
  kind           TEXT    NOT NULL,
  account        TEXT,
  sealed         BLOB    NOT NULL,
  created_at_ms  INTEGER NOT NULL,
  tries          INTEGER NOT NULL CHECK (tries >= 0),
  next_at_ms     INTEGER,
  error          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX mail_by_time ON mail (next_at_ms);
CREATE INDEX mail_by_age ON mail (created_at_ms);

-- Receivers of the audit trail, by the SHA-256 of their URL.
CREATE TABLE receiver (
  id             TEXT    NOT NULL PRIMARY KEY,
  name           TEXT    NOT NULL,
  sent_to        INTEGER NOT NULL,
  sending_to     INTEGER NOT NULL,
  message        TEXT    NOT NULL,
  tries          INTEGER NOT NULL CHECK (tries >= 0),
  next_at_ms     INTEGER NOT NULL,
  sent_at_ms     INTEGER,
  error          TEXT    NOT NULL,
  lost           INTEGER NOT NULL CHECK (lost >= 0),
  holder         TEXT    NOT NULL,
  held_until_ms  INTEGER NOT NULL
) STRICT;

-- One row: the last time at which a process has kept house, and the time up to which expired rows may have been deleted.
CREATE TABLE timekeeping (
  id            INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  seen_at_ms    INTEGER NOT NULL,
  purged_to_ms  INTEGER NOT NULL
) STRICT;
