/** What a proof is about. */
interface About {
  readonly method: string;
  readonly url: string;
  readonly nowMs: number;
  readonly nonce: string | undefined;
  /** The access token that is sent beside the proof. */
  readonly accessToken: string | undefined;
}

const SIGNATURE = { name: "ECDSA", hash: "SHA-256" };
const headers = new WeakMap<CryptoKeyPair, string>();

/** Return a proof that the holder of the key sends this request (RFC 9449 §4.2). */
export async function prove(pair: CryptoKeyPair, { method, url, nowMs, nonce, accessToken }: About): Promise<string> {
  const header = headers.get(pair) ?? (await headerOf(pair.publicKey));
  headers.set(pair, header);
  const claims = {
    jti: encode(crypto.getRandomValues(new Uint8Array(16))),
    htm: method,
    htu: url.replace(/[?#].*$/, ""),
    iat: Math.floor(nowMs / 1000),
    ...(nonce ? { nonce } : {}),
    ...(accessToken ? { ath: encode(await crypto.subtle.digest("SHA-256", bytes(accessToken))) } : {}),
  };
  const signed = `${header}.${encode(bytes(JSON.stringify(claims)))}`;
  return `${signed}.${encode(await crypto.subtle.sign(SIGNATURE, pair.privateKey, bytes(signed)))}`;
}

async function headerOf(publicKey: CryptoKey): Promise<string> {
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  return encode(bytes(JSON.stringify({ typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } })));
}

const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** Base64url. Spread is fine here: nothing is longer than a few kilobytes. */
const encode = (buffer: ArrayBuffer | Uint8Array): string =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
