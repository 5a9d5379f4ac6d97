import { createClient } from "@handstamp/browser";

// One client for the page, outside of all components: React's strict mode mounts components twice, and a server may import this.
export const client = createClient({ url: import.meta.env.VITE_AUTH_URL ?? "http://localhost:8000" });
