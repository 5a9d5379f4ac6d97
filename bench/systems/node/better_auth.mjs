// better-auth as its documentation sets it up for Node: e-mail and password, cookies, and the JWT plugin for other services.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { fromNodeHeaders, toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";
import { answer, database, durability, hashed, matches } from "./common.mjs";

const port = Number(process.argv[2]);
const options = {
  baseURL: "http://localhost",
  secret: "0123456789abcdef".repeat(4),
  database,
  emailAndPassword: {
    enabled: true,
    password: { hash: hashed, verify: ({ hash, password }) => matches(hash, password) },
  },
  rateLimit: { enabled: false }, // the default allows three sign-ins in ten seconds
  plugins: [jwt()],
};
await (await getMigrations(options)).runMigrations();
const auth = betterAuth(options);
const handle = toNodeHandler(auth);

async function profile(request, response) {
  const session = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) });
  answer(response, session === null ? 401 : 200, session);
}

createServer((request, response) => {
  if (request.url === "/durability") answer(response, 200, durability());
  else if (request.url === "/profile") profile(request, response);
  else handle(request, response);
}).listen(port, "127.0.0.1");
