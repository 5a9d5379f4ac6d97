// oidc-provider with one first-party client: no consent, rotating refresh tokens, opaque access tokens.
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import Provider from "oidc-provider";
import { answer, body, database, durability, hashed, matches } from "./common.mjs";
import { SqliteAdapter } from "./oidc_adapter.mjs";

const port = Number(process.argv[2]);
const SCOPE = "openid email offline_access";

database.exec("CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, password TEXT NOT NULL)");
const accounts = {
  add: database.prepare("INSERT INTO account (email, password) VALUES (?, ?)"),
  byEmail: database.prepare("SELECT id, password FROM account WHERE email = ?"),
  byId: database.prepare("SELECT id, email FROM account WHERE id = ?"),
};

function key() {
  const file = "signing-key.json";
  if (!existsSync(file)) {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    writeFileSync(file, JSON.stringify({ ...privateKey.export({ format: "jwk" }), alg: "ES256", use: "sig" }), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(file));
}

const provider = new Provider(`http://localhost:${port}`, {
  adapter: SqliteAdapter,
  clients: [
    {
      client_id: "bench",
      token_endpoint_auth_method: "none",
      redirect_uris: ["https://app.example.com/callback"],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      id_token_signed_response_alg: "ES256",
    },
  ],
  jwks: { keys: [key()] },
  cookies: { keys: ["0123456789abcdef".repeat(4)] },
  claims: { openid: ["sub"], email: ["email"] },
  ttl: { AccessToken: 900, RefreshToken: 14 * 86400, Session: 14 * 86400, Grant: 14 * 86400, Interaction: 3600, IdToken: 900 },
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  rotateRefreshToken: true,
  issueRefreshToken: async (_, client) => client.grantTypeAllowed("refresh_token"),
  async findAccount(_, id) {
    const account = accounts.byId.get(id);
    return account && { accountId: id, claims: async () => ({ sub: id, email: account.email }) };
  },
  async loadExistingGrant(ctx) {
    const known = ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
    if (known) return ctx.oidc.provider.Grant.find(known);
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope(SCOPE);
    await grant.save();
    return grant;
  },
});
const handle = provider.callback();

async function register(request, response) {
  const { email, password } = await body(request);
  accounts.add.run(email, await hashed(password));
  answer(response, 201, {});
}

async function signIn(request, response) {
  const { email, password } = await body(request);
  const account = accounts.byEmail.get(email);
  if (account === undefined || !(await matches(account.password, password))) return answer(response, 401, {});
  await provider.interactionFinished(request, response, { login: { accountId: String(account.id) } });
}

createServer((request, response) => {
  const failed = () => answer(response, 400, {});
  if (request.url === "/durability") answer(response, 200, durability());
  else if (request.url === "/register") register(request, response).catch(failed);
  else if (request.method === "POST" && request.url.startsWith("/interaction/")) signIn(request, response).catch(failed);
  else handle(request, response);
}).listen(port, "127.0.0.1");
