-- Names that end in _ms are milliseconds since 1970, UTC; those that end in _s are seconds. roles, scopes, amr, granted, detail and details
-- are JSON, and no query reads inside them. No table holds a token, or the hash of a token of a session. Closed sets of words (reasons, kinds,
-- deliveries, algorithms) are defined in the code and not checked here, so that a new word needs no new table.

-- password_hash is '' if the person has no password; name and language are '' if they are unknown.
CREATE TABLE account (
  id              text    NOT NULL PRIMARY KEY,
  email           text    COLLATE "C" NOT NULL UNIQUE,
  email_verified  boolean NOT NULL,
  name            text    NOT NULL,
  language        text    NOT NULL,
  password_hash   text    NOT NULL,
  roles           text    NOT NULL,
  epoch           bigint  NOT NULL CHECK (epoch >= 0),
  disabled_at_ms  bigint,
  created_at_ms   bigint  NOT NULL
);

-- One row a session, written in place at each refresh. The row is all that is known of the session. network is that of ip. No index covers what a
-- refresh changes, and each page keeps room for new versions of its rows, so that a refresh touches no index (heap-only tuples).
-- impersonator_id and impersonator_sid repeat what is in impersonator, for the index. All are NULL unless an operator acts in it.
CREATE TABLE session (
  id                   text   NOT NULL PRIMARY KEY,
  subject              text   NOT NULL,
  epoch                bigint,
  client_id            text   NOT NULL,
  generation           bigint NOT NULL CHECK (generation >= 0),
  rotated_at_ms        bigint NOT NULL,
  recovered_at_ms      bigint,
  expires_at_ms        bigint NOT NULL,
  idle_lifetime_ms     bigint NOT NULL CHECK (idle_lifetime_ms > 0),
  revoked_at_ms        bigint,
  revoked_why          text,
  delivery             text   NOT NULL,
  authenticated_at_ms  bigint NOT NULL,
  amr                  text   NOT NULL,
  acr                  text,
  bound_key            text,
  bound_by             text,
  bound_at_ms          bigint,
  bind_by_ms           bigint,
  device               text   NOT NULL,
  impersonator         text,
  impersonator_id      text,
  impersonator_sid     text,
  user_agent           text   NOT NULL,
  ip                   text   NOT NULL,
  network              text   NOT NULL,
  created_at_ms        bigint NOT NULL,
  seen_at_ms           bigint NOT NULL,
  granted              text   NOT NULL,
  CHECK ((revoked_at_ms IS NULL) = (revoked_why IS NULL)),
  CHECK ((bound_at_ms IS NULL) = (bound_key IS NULL)),
  CHECK ((bound_by IS NULL) = (bound_key IS NULL))
) WITH (fillfactor = 70);

CREATE INDEX session_by_subject ON session (subject, network);
CREATE INDEX session_by_end ON session (expires_at_ms);
CREATE INDEX session_unrevoked ON session (subject, expires_at_ms, id, revoked_at_ms) WHERE revoked_at_ms IS NULL;
CREATE INDEX session_by_impersonator ON session (impersonator_id, impersonator_sid) WHERE impersonator_id IS NOT NULL;

-- Sign-outs everywhere that did not fit into one transaction. A row is deleted when all sessions of its sweep have ended.
CREATE TABLE sweep (
  id             bigint  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subject        text    NOT NULL,
  why            text    NOT NULL,
  at_ms          bigint  NOT NULL,
  epoch          bigint,
  forgets        boolean NOT NULL,
  touched_at_ms  bigint  NOT NULL
);

-- Private keys are sealed with the master secret, which is not in the database.
CREATE TABLE signing_key (
  kid             text   NOT NULL PRIMARY KEY,
  algorithm       text   NOT NULL,
  sealed          bytea  NOT NULL,
  created_at_ms   bigint NOT NULL,
  active_from_ms  bigint NOT NULL
);

-- Failed attempts, counted under keyed hashes of address, network and device. account is the keyed hash of the address, or NULL
-- for a count that belongs to no single account. What people type by mistake is not stored. level is thousandths of a failure.
CREATE TABLE failure (
  key              text   NOT NULL PRIMARY KEY,
  account          text,
  level            bigint NOT NULL CHECK (level >= 0),
  consecutive      bigint NOT NULL CHECK (consecutive > 0),
  last_at_ms       bigint NOT NULL,
  forgotten_at_ms  bigint
);

CREATE INDEX failure_by_account ON failure (account);
CREATE INDEX failure_by_end ON failure (forgotten_at_ms);

-- Changes that were just made, by keyed hashes of their requests, so that a request that is sent again gets the same answer.
CREATE TABLE receipt (
  key      text   NOT NULL PRIMARY KEY,
  request  text   NOT NULL,
  result   text   NOT NULL,
  at_ms    bigint NOT NULL
);

CREATE INDEX receipt_by_age ON receipt (at_ms);

-- What links and codes of mails allow, once. link_hash and browser_hash are hashes of 256 random bits; code_hash is keyed, because
-- six digits could be searched. details holds what the purpose needs, such as the hash of the password of a sign-up.
CREATE TABLE one_time (
  id                  text   NOT NULL PRIMARY KEY,
  purpose             text   NOT NULL,
  email               text   NOT NULL,
  account_id          text,
  account_email       text   NOT NULL,
  epoch               bigint,
  link_hash           bytea  NOT NULL UNIQUE,
  code_hash           bytea,
  browser_hash        bytea  NOT NULL,
  created_at_ms       bigint NOT NULL,
  code_expires_at_ms  bigint NOT NULL,
  expires_at_ms       bigint NOT NULL,
  ip                  text   NOT NULL,
  user_agent          text   NOT NULL,
  looks               bigint NOT NULL CHECK (looks >= 0),
  used_at_ms          bigint,
  details             text   NOT NULL
);

CREATE INDEX one_time_by_browser ON one_time (browser_hash);
CREATE INDEX one_time_by_email ON one_time (email);
CREATE INDEX one_time_by_account ON one_time (account_id);
CREATE INDEX one_time_by_end ON one_time (expires_at_ms);

-- The authenticator app of an account. Its secret is sealed with the master secret. last_step is that of the last code that was used.
CREATE TABLE totp (
  account_id     text   NOT NULL PRIMARY KEY,
  sealed         bytea  NOT NULL,
  created_at_ms  bigint NOT NULL,
  last_step      bigint NOT NULL,
  used_at_ms     bigint NOT NULL
);

-- Passkeys. Their private keys never leave the authenticators. transports is JSON.
CREATE TABLE passkey (
  id             text    NOT NULL PRIMARY KEY,
  account_id     text    NOT NULL,
  handle         text    NOT NULL,
  public_key     bytea   NOT NULL,
  sign_count     bigint  NOT NULL CHECK (sign_count >= 0),
  name           text    NOT NULL,
  aaguid         text    NOT NULL,
  transports     text    NOT NULL,
  is_backed_up   boolean NOT NULL,
  created_at_ms  bigint  NOT NULL,
  used_at_ms     bigint  NOT NULL
);

CREATE INDEX passkey_by_account ON passkey (account_id);

-- What replaces a second factor once: hashes of 120 random bits.
CREATE TABLE recovery_code (
  account_id     text   NOT NULL,
  hash           bytea  NOT NULL,
  created_at_ms  bigint NOT NULL,
  used_at_ms     bigint,
  PRIMARY KEY (account_id, hash)
);

-- Whom accounts are at other providers of identities. A person is issuer and subject there, never an address.
CREATE TABLE identity (
  id             text   NOT NULL PRIMARY KEY,
  issuer         text   NOT NULL,
  subject        text   NOT NULL,
  account_id     text   NOT NULL,
  provider       text   NOT NULL,
  email          text   NOT NULL,
  created_at_ms  bigint NOT NULL,
  used_at_ms     bigint NOT NULL,
  UNIQUE (issuer, subject)
);

CREATE INDEX identity_by_account ON identity (account_id);

-- The tokens of providers, where the settings keep them. They are sealed with the master secret.
CREATE TABLE provider_token (
  issuer   text   NOT NULL,
  subject  text   NOT NULL,
  sealed   bytea  NOT NULL,
  at_ms    bigint NOT NULL,
  PRIMARY KEY (issuer, subject)
);

CREATE INDEX provider_token_by_age ON provider_token (at_ms);

-- The sessions that began at a provider, and which session they are there, so that signing out there ends them.
CREATE TABLE provider_session (
  sid            text   NOT NULL PRIMARY KEY,
  issuer         text   NOT NULL,
  subject        text   NOT NULL,
  at_provider    text   NOT NULL,
  expires_at_ms  bigint NOT NULL
);

CREATE INDEX provider_session_by_subject ON provider_session (issuer, subject, sid);
CREATE INDEX provider_session_by_name ON provider_session (issuer, at_provider, sid);
CREATE INDEX provider_session_by_end ON provider_session (expires_at_ms);

-- The logout tokens of providers that were accepted, until they expire, so that each has its effect once.
CREATE TABLE provider_logout (
  issuer         text   NOT NULL,
  jti            text   NOT NULL,
  subject        text   NOT NULL,
  at_provider    text   NOT NULL,
  at_ms          bigint NOT NULL,
  expires_at_ms  bigint NOT NULL,
  PRIMARY KEY (issuer, jti)
);

CREATE INDEX provider_logout_by_time ON provider_logout (issuer, at_ms);
CREATE INDEX provider_logout_by_end ON provider_logout (expires_at_ms);

-- Sign-ins between their steps, once something of them must not be repeated: codes that were looked at, and their success.
CREATE TABLE attempt (
  id             text   NOT NULL PRIMARY KEY,
  account_id     text   NOT NULL,
  expires_at_ms  bigint NOT NULL,
  tries          bigint NOT NULL CHECK (tries >= 0),
  enrolled       text   NOT NULL,
  used_at_ms     bigint
);

CREATE INDEX attempt_by_account ON attempt (account_id);
CREATE INDEX attempt_by_end ON attempt (expires_at_ms);

-- The audit trail. Rows are added in the transaction of the write that they describe, and never changed.
CREATE TABLE event (
  id          bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms       bigint NOT NULL,
  kind        text   NOT NULL,
  subject     text,
  sid         text,
  ip          text   NOT NULL,
  user_agent  text   NOT NULL,
  actor       text   NOT NULL,
  operator    text,
  detail      text   NOT NULL
);

CREATE INDEX event_by_age ON event (at_ms);
CREATE INDEX event_by_subject ON event (subject, id);
CREATE INDEX event_by_session ON event (sid, id);

-- The sessions and keys whose tokens are revoked, until the last such token has expired. seq grows in the order of commits,
-- because it is assigned under an advisory lock that is held until the commit. The last row is never deleted, so that a reader's
-- place in the feed is always found.
CREATE TABLE revocation (
  seq    bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind   text   NOT NULL,
  name   text   NOT NULL,
  exp_s  bigint NOT NULL,
  UNIQUE (kind, name)
);

CREATE INDEX revocation_by_end ON revocation (exp_s);

-- A first row that concerns no session. Its random name tells this database's feed from that of any other.
INSERT INTO revocation (kind, name, exp_s) VALUES ('sid', replace(gen_random_uuid()::text, '-', ''), 0);

-- The credentials of other services.
CREATE TABLE credential (
  id             text   NOT NULL PRIMARY KEY,
  name           text   NOT NULL UNIQUE,
  secret_hash    bytea  NOT NULL,
  created_at_ms  bigint NOT NULL,
  scopes         text   NOT NULL
);

-- Mail that waits to be sent. A row is deleted once its mail is sent or given up. Address and content are sealed with the master
-- secret. next_at_ms is NULL for mail that is only shown in the development inbox.
CREATE TABLE mail (
  id             text   NOT NULL PRIMARY KEY,
  kind           text   NOT NULL,
  account        text,
  sealed         bytea  NOT NULL,
  created_at_ms  bigint NOT NULL,
  tries          bigint NOT NULL CHECK (tries >= 0),
  next_at_ms     bigint,
  error          text   NOT NULL
);

CREATE INDEX mail_by_time ON mail (next_at_ms);
CREATE INDEX mail_by_age ON mail (created_at_ms);

-- Receivers of the audit trail, by the SHA-256 of their URL.
CREATE TABLE receiver (
  id             text    NOT NULL PRIMARY KEY,
  name           text    NOT NULL,
  sent_to        bigint  NOT NULL,
  sending_to     bigint  NOT NULL,
  message        text    NOT NULL,
  tries          bigint  NOT NULL CHECK (tries >= 0),
  next_at_ms     bigint  NOT NULL,
  sent_at_ms     bigint,
  error          text    NOT NULL,
  lost           bigint  NOT NULL CHECK (lost >= 0),
  holder         text    NOT NULL,
  held_until_ms  bigint  NOT NULL
);

-- One row: the last time at which a process has kept house, and the time up to which expired rows may have been deleted.
CREATE TABLE timekeeping (
  id            bigint NOT NULL PRIMARY KEY CHECK (id = 1),
  seen_at_ms    bigint NOT NULL,
  purged_to_ms  bigint NOT NULL
);
