import type { Requests } from "./methods.js";
import type { ProviderMethods } from "./types.js";

interface Away {
  readonly url: string;
}

/** Leave this page. The promise never resolves: the page is gone before. */
const leave = (url: string): Promise<never> => {
  globalThis.location.assign(url);
  return new Promise(() => {});
};

/** Return the page to come back to: this one, or one that is named relative to it. */
const pageOf = (returnTo?: string): string => new URL(returnTo ?? "", globalThis.location?.href).href;

/** Return the methods for signing in with other services. */
export function providerMethods(requests: Requests): ProviderMethods {
  const { url, transport, callSignedIn } = requests;
  const requirePage = (): void => {
    if (transport.delivery === "split") return;
    throw new TypeError("Signing in with another service needs the cookies of a page: this client keeps its tokens itself.");
  };
  return {
    signInWith: async (provider, { returnTo, loginHint, again } = {}) => {
      requirePage();
      const query = new URLSearchParams({ return_to: pageOf(returnTo), delivery: "split" });
      if (loginHint) query.set("login_hint", loginHint);
      if (again) query.set("again", "");
      return leave(`${url}/sign-in/with/${encodeURIComponent(provider)}?${query}`);
    },
    identities: async () => (await callSignedIn<{ identities: [] }>("/identities", "GET")).identities,
    addIdentity: async (provider, { returnTo } = {}) => {
      requirePage();
      const path = `/identities/with/${encodeURIComponent(provider)}`;
      const away = await callSignedIn<Away>(path, "POST", { returnTo: pageOf(returnTo) });
      return leave(away.url);
    },
    removeIdentity: (id) => callSignedIn(`/identities/${encodeURIComponent(id)}`, "DELETE"),
  };
}
