// A key that script can use and not read, and its proofs for requests (DPoP, RFC 9449).

const P256 = { name: "ECDSA", namedCurve: "P-256" };
const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const bytesOf = (text) => new TextEncoder().encode(text);
const encodeJson = (value) => encode(bytesOf(JSON.stringify(value)));

/** Make a key. Returns a function that makes the proof of a request, and of the access token that goes with it. */
export async function makeKey() {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(P256, false, ["sign"]);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  return async (method, path, token) => {
    const header = { alg: "ES256", typ: "dpop+jwt", jwk: { kty, crv, x, y } };
    const claims = { jti: crypto.randomUUID(), htm: method, htu: location.origin + path, iat: Math.floor(Date.now() / 1000) };
    if (token) claims.ath = encode(await crypto.subtle.digest("SHA-256", bytesOf(token)));
    const input = `${encodeJson(header)}.${encodeJson(claims)}`;
    return `${input}.${encode(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, bytesOf(input)))}`;
  };
}
