import { createContext, createElement, type FunctionComponent, type ReactNode, useContext, useMemo, useSyncExternalStore } from "react";
import type { Client, State } from "./types.js";

/** The state, and the methods of the client. */
export type Auth = Omit<Client, "state" | "getState" | "onChange" | "close" | typeof Symbol.dispose> & { readonly state: State };

const Context = createContext<Client | undefined>(undefined);
const UNKNOWN: State = { status: "unknown", online: true };

/**
 * Give a client to the components below. Create the client once, outside of components: then React's strict mode, which mounts
 * everything twice, has one client, and a server that renders the page can import the same module.
 */
export const HandstampProvider: FunctionComponent<{ client: Client; children?: ReactNode }> = ({ client, children }) =>
  createElement(Context.Provider, { value: client }, children);

/** Return the state and the client's methods. The component is rendered again with each new state. On a server it is `unknown`. */
export function useAuth(): Auth {
  const client = useContext(Context);
  if (!client) throw new Error("useAuth() needs a <HandstampProvider client={…}> around the component.");
  const state = useSyncExternalStore(client.onChange, client.getState, () => UNKNOWN);
  return useMemo(() => {
    const { getState, onChange, close, ...methods } = client;
    return { ...methods, state };
  }, [client, state]);
}
