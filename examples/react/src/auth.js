import { createClient } from "@handstamp/browser";

let show = () => {};

/** Call `listener` with the question to ask the person, or with nothing if there is none any more. */
export const onQuestion = (listener) => {
  show = listener;
};

/** A request needs a fresh proof, and waits for it. */
const onStepUp = ({ acrValues, error, signal }) =>
  new Promise((resolve) => {
    const answer = (proof) => {
      show(undefined);
      resolve(proof);
    };
    signal.addEventListener("abort", () => answer(undefined));
    show({ needsCode: acrValues.includes("mfa"), problem: error?.message, answer });
  });

// One client for the page, outside of all components: React's strict mode mounts components twice, and a server may import this.
export const client = createClient({ url: import.meta.env.VITE_AUTH_URL ?? "http://localhost:8000", onStepUp });
