// Certified OAuth clients, unmodified, against a running service. Reads what to use as JSON from standard input:
// {issuer, audience, algorithm, account: {email, password}, service: {id, secret}, sessions: [{accessToken, refreshToken, sessionId}, ...]}.
// Writes {check: null or what went wrong}. Each check takes sessions of its own.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

globalThis.crypto ??= (await import("node:crypto")).webcrypto; // Node 18, which Debian 12 has, hides it
const oauth = await import("oauth4webapi");
const openid = await import("openid-client");

const { issuer, audience, algorithm, account, service, sessions } = JSON.parse(readFileSync(0, "utf8"));
const insecure = { [oauth.allowInsecureRequests]: true }; // plain http, which the service speaks on loopback alone
const person = { client_id: "handstamp" };
const verifier = { client_id: service.id };

const session = () => {
  const next = sessions.shift();
  assert(next, "there are too few sessions for these checks");
  return next;
};

const discover = async () => {
  const url = new URL(issuer);
  const answer = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure });
  return oauth.processDiscoveryResponse(url, answer);
};

const renew = async (server, refreshToken) => {
  const answer = await oauth.refreshTokenGrantRequest(server, person, oauth.None(), refreshToken, insecure);
  return oauth.processRefreshTokenResponse(server, person, answer);
};

const introspect = async (server, authentication, token) => {
  const answer = await oauth.introspectionRequest(server, verifier, authentication, token, insecure);
  return oauth.processIntrospectionResponse(server, verifier, answer);
};

const revoke = async (server, token) => {
  const answer = await oauth.revocationRequest(server, person, oauth.None(), token, insecure);
  return oauth.processRevocationResponse(answer);
};

const validate = (server, accessToken, expected = audience) => {
  const headers = { authorization: `Bearer ${accessToken}` };
  return oauth.validateJwtAccessToken(server, new Request("https://api.example.com/", { headers }), expected, insecure);
};

const as = (clientId, secret, authentication) =>
  openid.discovery(new URL(issuer), clientId, secret, authentication, {
    algorithm: "oauth2",
    execute: [openid.allowInsecureRequests],
  });

// Signs in with a proof, which is no part of OAuth: so no library does it.
const signInBound = async (keyPair) => {
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", keyPair.publicKey);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const url = `${issuer}/login`;
  const claims = { jti: crypto.randomUUID(), htm: "POST", htu: url, iat: Math.floor(Date.now() / 1000) };
  const input = `${part({ typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } })}.${part(claims)}`;
  const signed = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, keyPair.privateKey, Buffer.from(input));
  const headers = { "content-type": "application/json", dpop: `${input}.${Buffer.from(signed).toString("base64url")}` };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify({ ...account, delivery: "json" }) });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
};

const refused = (error) => (problem) => {
  assert.equal(problem.error, error);
  return true;
};

const checks = {
  async "oauth4webapi discovers"() {
    const server = await discover();
    assert.equal(server.issuer, issuer);
    for (const name of ["jwks_uri", "token_endpoint", "revocation_endpoint", "introspection_endpoint"]) {
      assert(server[name].startsWith(`${issuer}/`), name);
    }
  },

  async "oauth4webapi renews"() {
    const [server, { refreshToken }] = [await discover(), session()];
    const first = await renew(server, refreshToken);
    assert.equal(first.token_type, "bearer");
    assert.notEqual(first.refresh_token, refreshToken);
    assert(first.expires_in > 0);
    const second = await renew(server, first.refresh_token);
    assert.notEqual(second.refresh_token, first.refresh_token);
    await assert.rejects(renew(server, refreshToken), refused("invalid_grant"));
    await assert.rejects(renew(server, second.refresh_token), refused("invalid_grant"), "an old copy ends the session");
  },

  async "oauth4webapi validates access tokens"() {
    const [server, { accessToken, refreshToken, sessionId }] = [await discover(), session()];
    for (const token of [accessToken, (await renew(server, refreshToken)).access_token]) {
      const claims = await validate(server, token);
      assert.equal(claims.iss, issuer);
      assert.equal(claims.sid, sessionId);
      assert.equal(claims.client_id, person.client_id);
    }
    const { alg, typ, kid } = JSON.parse(Buffer.from(accessToken.split(".")[0], "base64url"));
    assert.deepEqual([alg, typ, typeof kid], [algorithm, "at+jwt", "string"]);
    await assert.rejects(validate(server, refreshToken));
    await assert.rejects(validate(server, accessToken, "https://other.example"));
  },

  async "oauth4webapi uses an access token"() {
    const { accessToken, sessionId } = session();
    const url = new URL(`${issuer}/profile`);
    const answer = await oauth.protectedResourceRequest(accessToken, "GET", url, undefined, undefined, insecure);
    assert.equal((await answer.json()).session.id, sessionId);
    const bad = oauth.protectedResourceRequest("rubbish", "GET", url, undefined, undefined, insecure);
    await assert.rejects(bad, (problem) => {
      assert(problem instanceof oauth.WWWAuthenticateChallengeError);
      assert.equal(problem.cause[0].scheme, "bearer");
      assert.equal(problem.cause[0].parameters.error, "invalid_token");
      return true;
    });
  },

  async "oauth4webapi introspects"() {
    const [server, { accessToken, refreshToken, sessionId }] = [await discover(), session()];
    const { ClientSecretBasic, ClientSecretPost } = oauth;
    for (const way of [ClientSecretBasic, ClientSecretPost]) {
      const found = await introspect(server, way(service.secret), accessToken);
      assert.deepEqual([found.active, found.sid, found.iss], [true, sessionId, issuer]);
      for (const token of [refreshToken, "rubbish"]) {
        assert.deepEqual(await introspect(server, way(service.secret), token), { active: false });
      }
    }
    await assert.rejects(introspect(server, ClientSecretPost("wrong"), accessToken));
    await assert.rejects(introspect(server, ClientSecretBasic("wrong"), accessToken), (problem) => {
      assert(problem instanceof oauth.WWWAuthenticateChallengeError);
      assert.equal(problem.cause[0].scheme, "basic");
      return true;
    });
  },

  async "oauth4webapi revokes"() {
    const server = await discover();
    for (const kind of ["accessToken", "refreshToken"]) {
      const ends = session();
      assert.equal(await revoke(server, ends[kind]), undefined);
      assert.deepEqual(await introspect(server, oauth.ClientSecretBasic(service.secret), ends.accessToken), { active: false });
      await assert.rejects(renew(server, ends.refreshToken), refused("invalid_grant"));
      assert.equal(await revoke(server, ends[kind]), undefined);
    }
    assert.equal(await revoke(server, "rubbish"), undefined);
  },

  async "oauth4webapi proves its key"() {
    const server = await discover();
    assert.deepEqual(server.dpop_signing_alg_values_supported, ["ES256"]);
    const keyPair = await oauth.generateKeyPair("ES256");
    const { accessToken, refreshToken, sessionId, tokenType } = await signInBound(keyPair);
    assert.equal(tokenType, "DPoP");
    const handle = oauth.DPoP(person, keyPair);
    const url = new URL(`${issuer}/profile`);
    const answer = await oauth.protectedResourceRequest(accessToken, "GET", url, undefined, undefined, { ...insecure, DPoP: handle });
    assert.equal((await answer.json()).session.id, sessionId);
    await assert.rejects(oauth.protectedResourceRequest(accessToken, "GET", url, undefined, undefined, insecure));
    const found = await introspect(server, oauth.ClientSecretBasic(service.secret), accessToken);
    assert.deepEqual([found.active, found.cnf.jkt], [true, await handle.calculateThumbprint()]);
    await assert.rejects(renew(server, refreshToken), refused("invalid_dpop_proof"));
    const options = { ...insecure, DPoP: handle };
    const renewed = await oauth.processRefreshTokenResponse(
      server, person, await oauth.refreshTokenGrantRequest(server, person, oauth.None(), refreshToken, options),
    );
    assert.equal(renewed.token_type, "dpop");
    assert.notEqual(renewed.refresh_token, refreshToken);
    const wrong = oauth.DPoP({ ...person, [oauth.clockSkew]: 4000 }, keyPair);
    const ask = () => oauth.refreshTokenGrantRequest(server, person, oauth.None(), renewed.refresh_token, { ...insecure, DPoP: wrong });
    const first = await oauth.processRefreshTokenResponse(server, person, await ask()).catch((problem) => problem);
    assert(oauth.isDPoPNonceError(first), String(first));
    assert.equal((await oauth.processRefreshTokenResponse(server, person, await ask())).token_type, "dpop");
  },

  async "openid-client renews"() {
    const [config, { refreshToken, sessionId }] = [await as(person.client_id, undefined, openid.None()), session()];
    const tokens = await openid.refreshTokenGrant(config, refreshToken);
    assert.equal(tokens.session_id, sessionId);
    assert(tokens.expiresIn() > 0);
    const again = await openid.refreshTokenGrant(config, refreshToken);
    assert.equal(again.refresh_token, tokens.refresh_token, "a repeat within grace");
    await assert.rejects(openid.refreshTokenGrant(config, tokens.refresh_token, { scope: "admin" }), refused("invalid_scope"));
    await assert.rejects(openid.genericGrantRequest(config, "password", {}), refused("unsupported_grant_type"));
  },

  async "openid-client proves its key"() {
    const config = await as(person.client_id, undefined, openid.None());
    const keyPair = await openid.randomDPoPKeyPair("ES256");
    const { accessToken, refreshToken, sessionId } = await signInBound(keyPair);
    const DPoP = openid.getDPoPHandle(config, keyPair);
    const url = new URL(`${issuer}/profile`);
    const answer = await openid.fetchProtectedResource(config, accessToken, url, "GET", undefined, undefined, { DPoP });
    assert.equal((await answer.json()).session.id, sessionId);
    const tokens = await openid.refreshTokenGrant(config, refreshToken, undefined, { DPoP });
    assert.equal(tokens.token_type, "dpop");
    await assert.rejects(openid.refreshTokenGrant(config, tokens.refresh_token), refused("invalid_dpop_proof"));
  },

  async "openid-client introspects"() {
    const { accessToken, refreshToken, sessionId } = session();
    for (const way of [openid.ClientSecretBasic, openid.ClientSecretPost]) {
      const config = await as(service.id, service.secret, way(service.secret));
      const found = await openid.tokenIntrospection(config, accessToken);
      assert.deepEqual([found.active, found.sid, found.token_type], [true, sessionId, "Bearer"]);
      assert.deepEqual(await openid.tokenIntrospection(config, refreshToken), { active: false });
    }
  },

  async "openid-client revokes"() {
    const [people, asking] = [
      await as(person.client_id, undefined, openid.None()),
      await as(service.id, service.secret, openid.ClientSecretBasic(service.secret)),
    ];
    const { accessToken, refreshToken } = session();
    await openid.tokenRevocation(people, refreshToken);
    assert.deepEqual(await openid.tokenIntrospection(asking, accessToken), { active: false });
    await openid.tokenRevocation(people, "rubbish");
    await assert.rejects(openid.tokenRevocation(asking, session().refreshToken), refused("unauthorized_client"));
  },
};

const outcomes = {};
for (const [name, check] of Object.entries(checks)) {
  outcomes[name] = await check().then(
    () => null,
    (problem) => `${problem.stack ?? problem} ${JSON.stringify(problem.cause ?? null)}`,
  );
}
console.log(JSON.stringify(outcomes));
