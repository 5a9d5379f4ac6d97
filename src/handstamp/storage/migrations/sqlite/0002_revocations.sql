-- Which sessions' and keys' tokens are void, for as long as one of them could still hold. seq grows in the order of commits: there
-- is one writer at a time. The last row is never deleted, so that a reader's place is found again.
CREATE TABLE revocation (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  kind   TEXT    NOT NULL CHECK (kind IN ('sid', 'kid')),
  name   TEXT    NOT NULL,
  exp_s  INTEGER NOT NULL,
  UNIQUE (kind, name)
) STRICT;

CREATE INDEX revocation_by_end ON revocation (exp_s);

-- Nobody's session: it gives an empty table a last row, of a name that no other database has.
INSERT INTO revocation (kind, name, exp_s) VALUES ('sid', lower(hex(randomblob(16))), 0);

-- What ended before this table was there: tokens of an hour, and a minute for clocks that differ.
INSERT INTO revocation (kind, name, exp_s)
  SELECT 'sid', id, revoked_at_ms / 1000 + 3661 FROM session WHERE revoked_at_ms IS NOT NULL;

-- Other services' credentials.
CREATE TABLE client (
  id             TEXT    NOT NULL PRIMARY KEY,
  name           TEXT    NOT NULL UNIQUE,
  secret_hash    BLOB    NOT NULL,
  created_at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
