// oidc-provider's adapter interface on SQLite: one table, a statement for each of its methods, indexes for the searched columns.
import { database } from "./common.mjs";

database.exec(`
  CREATE TABLE IF NOT EXISTS oidc (
    model TEXT NOT NULL, id TEXT NOT NULL, payload TEXT NOT NULL, grant_id TEXT, uid TEXT, user_code TEXT,
    consumed INTEGER, expires INTEGER, PRIMARY KEY (model, id)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS oidc_grant ON oidc (grant_id) WHERE grant_id IS NOT NULL;
  CREATE INDEX IF NOT EXISTS oidc_uid ON oidc (uid) WHERE uid IS NOT NULL;
  CREATE INDEX IF NOT EXISTS oidc_user_code ON oidc (user_code) WHERE user_code IS NOT NULL;
`);
const run = {
  upsert: database.prepare(
    `INSERT INTO oidc (model, id, payload, grant_id, uid, user_code, expires) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (model, id) DO UPDATE SET payload = excluded.payload, grant_id = excluded.grant_id, uid = excluded.uid,
       user_code = excluded.user_code, expires = excluded.expires`,
  ),
  find: database.prepare("SELECT payload, consumed, expires FROM oidc WHERE model = ? AND id = ?"),
  findByUid: database.prepare("SELECT payload, consumed, expires FROM oidc WHERE model = ? AND uid = ?"),
  findByUserCode: database.prepare("SELECT payload, consumed, expires FROM oidc WHERE model = ? AND user_code = ?"),
  consume: database.prepare("UPDATE oidc SET consumed = ? WHERE model = ? AND id = ?"),
  destroy: database.prepare("DELETE FROM oidc WHERE model = ? AND id = ?"),
  revokeByGrantId: database.prepare("DELETE FROM oidc WHERE grant_id = ?"),
};
const seconds = () => Math.floor(Date.now() / 1000);

function payload(row) {
  if (row === undefined || (row.expires !== null && row.expires <= seconds())) return undefined;
  return { ...JSON.parse(row.payload), ...(row.consumed ? { consumed: row.consumed } : undefined) };
}

export class SqliteAdapter {
  constructor(model) {
    this.model = model;
  }
  async upsert(id, data, expiresIn) {
    const expires = expiresIn ? seconds() + expiresIn : null;
    const { grantId = null, uid = null, userCode = null } = data;
    run.upsert.run(this.model, id, JSON.stringify(data), grantId, uid, userCode, expires);
  }
  async find(id) {
    return payload(run.find.get(this.model, id));
  }
  async findByUid(uid) {
    return payload(run.findByUid.get(this.model, uid));
  }
  async findByUserCode(userCode) {
    return payload(run.findByUserCode.get(this.model, userCode));
  }
  async consume(id) {
    run.consume.run(seconds(), this.model, id);
  }
  async destroy(id) {
    run.destroy.run(this.model, id);
  }
  async revokeByGrantId(grantId) {
    run.revokeByGrantId.run(grantId);
  }
}
