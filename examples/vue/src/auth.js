import { createClient } from "@handstamp/browser";

// One client for the page, outside of all components. A server that renders pages can import it too.
export const client = createClient({ url: import.meta.env.VITE_AUTH_URL ?? "http://localhost:8000" });
