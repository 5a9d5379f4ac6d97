// The browser's part in a session that is bound to its device (W3C DBSC): a key that script can use and not read, and its proofs.
// Browsers do all this by themselves, but only over https. The demonstration is http, so the page does it in their place.

const P256 = { name: "ECDSA", namedCurve: "P-256" };
const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const encodeJson = (value) => encode(new TextEncoder().encode(JSON.stringify(value)));

/** Make a key. Returns a function that signs a challenge; `registers` puts the public key into the proof. */
export async function makeKey() {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(P256, false, ["sign"]);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  return async (challenge, { registers = false } = {}) => {
    const header = { typ: "dbsc+jwt", alg: "ES256", ...(registers ? { jwk: { kty, crv, x, y } } : {}) };
    const input = `${encodeJson(header)}.${encodeJson({ jti: challenge })}`;
    const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, new TextEncoder().encode(input));
    return `${input}.${encode(signature)}`;
  };
}
