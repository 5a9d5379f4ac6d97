import { inject, type InjectionKey, type Plugin, type ShallowRef, shallowReadonly, shallowRef } from "vue";
import type { Client, State } from "./types.js";

/** The state as a ref, and the methods of the client. */
export type Auth = Omit<Client, "state" | "getState" | "onChange" | "close" | typeof Symbol.dispose> & {
  readonly state: Readonly<ShallowRef<State>>;
};

const KEY: InjectionKey<Auth> = Symbol("handstamp");

/** Return a plugin: `createApp(App).use(handstamp(client))`. */
export function handstamp(client: Client): Plugin {
  return {
    install(app) {
      const { getState, onChange, close, ...methods } = client;
      const state = shallowRef(getState());
      // A server renders one application for each request and unmounts none: listeners would pile up.
      if ("document" in globalThis) app.onUnmount(onChange((next) => (state.value = next)));
      app.provide(KEY, { ...methods, state: shallowReadonly(state) });
    },
  };
}

/** Return the state and the client's methods, in `setup`. */
export function useAuth(): Auth {
  const auth = inject(KEY);
  if (!auth) throw new Error("useAuth() needs the plugin: app.use(handstamp(client)).");
  return auth;
}
