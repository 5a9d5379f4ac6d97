// Shared by both servers: a durable database, the password hash at the common cost of all systems, and JSON bodies.
import { hash, verify } from "@node-rs/argon2";
import Database from "better-sqlite3";

const COST = { memoryCost: 19456, timeCost: 2, parallelism: 1 };

export const database = new Database(process.env.BENCH_DATABASE);
database.pragma("journal_mode = WAL");
database.pragma("synchronous = FULL");

export const hashed = (password) => hash(password, COST);
export const matches = (stored, password) => verify(stored, password);

export const durability = () => ({
  journal_mode: database.pragma("journal_mode", { simple: true }),
  synchronous: String(database.pragma("synchronous", { simple: true })),
});

export function answer(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(body));
}

export async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}
