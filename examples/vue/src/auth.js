import { createClient } from "@handstamp/browser";
import { shallowRef } from "vue";

/** What to ask the person, because a request needs a fresh proof and waits for it. */
export const question = shallowRef();

const onStepUp = ({ acrValues, error, signal }) =>
  new Promise((resolve) => {
    const answer = (proof) => {
      question.value = undefined;
      resolve(proof);
    };
    signal.addEventListener("abort", () => answer(undefined));
    question.value = { needsCode: acrValues.includes("mfa"), problem: error?.message, answer };
  });

/** A recovery code is longer than a code of an app. */
export const read = (text) => (/^[\d ]{6,7}$/.test(text.trim()) ? { code: text } : { recoveryCode: text });

// One client for the page, outside of all components. A server that renders pages can import it too.
export const client = createClient({ url: import.meta.env.VITE_AUTH_URL ?? "http://localhost:8000", onStepUp });
