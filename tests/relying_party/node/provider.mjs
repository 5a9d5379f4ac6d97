// A certified OpenID provider whose answers a test can spoil. Reads its clients as JSON from standard input, prints its URL,
// and ends when its standard input ends.
import { createServer } from 'node:http'
import { generateKeyPair, exportJWK, SignJWT, base64url } from 'jose'
import Provider from 'oidc-provider'

let lines = ''
const clients = await new Promise((resolve) => {
  process.stdin.setEncoding('utf8')
  process.stdin.on('data', (text) => {
    lines += text
    if (lines.includes('\n')) resolve(JSON.parse(lines.slice(0, lines.indexOf('\n'))))
  })
  process.stdin.on('end', () => process.exit(0))
})

async function makeKey(alg, kid) {
  const pair = await generateKeyPair(alg, { extractable: true })
  return { ...pair, jwk: { ...(await exportJWK(pair.privateKey)), kid, alg, use: 'sig' } }
}
const keys = {
  RS256: await makeKey('RS256', 'rsa'),
  PS256: await makeKey('PS256', 'pss'),
  ES256: await makeKey('ES256', 'ec'),
  EdDSA: await makeKey('EdDSA', 'ed'),
}
const rotated = await makeKey('RS256', 'rotated')
const publicRotated = { ...(await exportJWK(rotated.publicKey)), kid: 'rotated', alg: 'RS256', use: 'sig' }

const server = createServer()
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`
let spoil = {}

const provider = new Provider(issuer, {
  clients,
  jwks: { keys: Object.values(keys).map((key) => key.jwk) },
  cookies: { keys: ['only for tests'] },
  enabledJWA: {
    idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    userinfoSigningAlgValues: ['RS256'],
  },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  scopes: ['openid', 'email', 'profile', 'offline_access'],
  features: { backchannelLogout: { enabled: true }, devInteractions: { enabled: true }, userinfo: { enabled: true } },
  // Its own guard keeps it from addresses of this machine, where the test receives logout tokens.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `Person ${id}`, email: `${id}@example.com`, email_verified: true, ...spoil.person }),
  }),
  // Everything is granted at once: a test presses one button.
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId })
    grant.addOIDCScope('openid email profile offline_access')
    await grant.save()
    return grant
  },
  ttl: { AccessToken: 3600, AuthorizationCode: 60, IdToken: 300, Grant: 600, Interaction: 600, Session: 600, RefreshToken: 600 },
})

const encode = (value) => base64url.encode(JSON.stringify(value))

async function spoilIdToken(token) {
  const [head, payload] = token.split('.')
  const header = JSON.parse(Buffer.from(head, 'base64url'))
  const claims = { ...JSON.parse(Buffer.from(payload, 'base64url')), ...spoil.claims }
  for (const name of spoil.drop ?? []) delete claims[name]
  if (spoil.alg === 'none') return `${encode({ alg: 'none' })}.${encode(claims)}.`
  if (spoil.alg === 'HS256') {
    const jwk = await exportJWK(keys.RS256.publicKey)
    const secret = new TextEncoder().encode(spoil.secret ?? JSON.stringify(jwk))
    return new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'rsa' }).sign(secret)
  }
  const key = spoil.rotated || spoil.forged ? rotated : keys[header.alg]
  const kid = spoil.rotated ? 'rotated' : header.kid
  return new SignJWT(claims).setProtectedHeader({ alg: header.alg, kid, ...spoil.header }).sign(key.privateKey)
}

provider.use(async (ctx, next) => {
  await next()
  const route = ctx.oidc?.route
  if (route === 'token' && ctx.body?.id_token) ctx.body.id_token = await spoilIdToken(ctx.body.id_token)
  if (route === 'jwks' && spoil.rotated) ctx.body = { keys: [...ctx.body.keys, publicRotated] }
  if (route === 'userinfo' && spoil.userinfo === 'unsigned') {
    ctx.body = `${encode({ alg: 'none' })}.${encode(ctx.body)}.`
    ctx.type = 'application/jwt'
  }
  if (route !== undefined && route === spoil.route) {
    if (spoil.status) ctx.status = spoil.status
    if (spoil.huge) ctx.body = { ...ctx.body, padding: 'x'.repeat(spoil.huge) }
    if (spoil.silent) ctx.respond = false
  }
})

provider.on('backchannel.error', (_, error) => console.error(error))
const answer = provider.callback()
server.on('request', (request, response) => {
  if (request.url !== '/spoil') return answer(request, response)
  let text = ''
  request.on('data', (part) => (text += part))
  request.on('end', () => {
    spoil = JSON.parse(text)
    response.end()
  })
})
console.log(issuer)
