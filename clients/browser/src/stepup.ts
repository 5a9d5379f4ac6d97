import type { Requests } from "./methods.js";
import { prove } from "./factors.js";
import type { StepUp, StepUpProof } from "./types.js";

type Need = Pick<StepUp, "maxAge" | "acrValues">;

/** A question to the person, which all requests that need the answer share. */
interface Question {
  readonly need: Need;
  readonly answer: Promise<boolean>;
  readonly abort: () => void;
  waiting: number;
}

/** How many wrong proofs in a row lead to another question. */
const MOST_QUESTIONS = 5;

/** Asks the person for a fresh proof when an API wants one (RFC 9470), once for all requests that wait. */
export class StepUps {
  readonly #requests: Requests;
  #question: Question | undefined;
  /** The token of before the latest proof. Requests that were sent with it are sent again without a question. */
  #formerToken: string | undefined;

  constructor(requests: Requests) {
    this.#requests = requests;
    requests.onOtherStepUp = () => this.#question?.abort();
  }

  /** Prove it, and get a token that says so. */
  readonly stepUp = async (proof: StepUpProof): Promise<void> => {
    const { authorization, call, renew, tellStepUp } = this.#requests;
    const headers = await authorization();
    // Not by `fetch`, which would ask for a proof in turn.
    if (!("recorded" in proof)) await prove(this.#requests, proof, {}, (body) => call("/login/step-up", body, headers), headers);
    this.#formerToken = headers.Authorization;
    await renew();
    tellStepUp();
  };

  /**
   * Return whether a request may be sent again that was sent with `token` and refused with `response`. False if the person
   * does not want to prove it. Throws what `onStepUp` throws, and `HandstampError` after too many wrong proofs.
   */
  readonly ask = async (response: Response, token: string, signal?: AbortSignal): Promise<boolean> => {
    const need = needOf(response.headers.get("WWW-Authenticate") ?? "");
    while (this.#question && !covers(this.#question.need, need)) await this.#question.answer.catch(() => {});
    if (!this.#question && this.#formerToken === `Bearer ${token}`) return true;
    this.#question ??= this.#open(need);
    return wait(this.#question, signal);
  };

  #open(need: Need): Question {
    const controller = new AbortController();
    const abort = (): void => controller.abort();
    const forget = this.#requests.onChange(({ status }) => {
      if (status === "signed-out") abort();
    });
    const answer = this.#put(need, controller.signal).finally(() => {
      forget();
      this.#question = undefined;
    });
    return { need, answer, abort, waiting: 0 };
  }

  /** Ask until the proof is right. If the question is withdrawn, the requests find out by themselves what they get now. */
  async #put(need: Need, signal: AbortSignal): Promise<boolean> {
    const withdrawn = new Promise<"withdrawn">((done) => signal.addEventListener("abort", () => done("withdrawn")));
    for (let error: Error | undefined, asked = 1; ; asked += 1) {
      const question: StepUp = { ...need, page: pageOf(this.#requests.url), signal, ...(error ? { error } : {}) };
      const proof = await Promise.race([withdrawn, this.#requests.onStepUp?.(question)]);
      if (signal.aborted) return true;
      if (!proof || proof === "withdrawn") return false;
      try {
        await this.stepUp(proof);
        return true;
      } catch (refusal) {
        const isFinal = !(refusal instanceof Error) || (refusal as { code?: string }).code === "session_ended";
        if (isFinal || asked >= MOST_QUESTIONS) throw refusal;
        error = refusal;
      }
    }
  }
}

/** Return the page of the service that asks, and then leads back to this page. */
const pageOf = (url: string): string => `${url}/confirm?return_to=${encodeURIComponent(globalThis.location?.href ?? "")}`;

/** Wait for the answer. If every waiting request is aborted, the question is withdrawn. */
function wait(question: Question, signal?: AbortSignal): Promise<boolean> {
  const leave = (): void => {
    question.waiting -= 1;
    if (question.waiting === 0) question.abort();
  };
  question.waiting += 1;
  signal?.addEventListener("abort", leave);
  return question.answer.finally(() => signal?.removeEventListener("abort", leave));
}

/** Return what a challenge asks for (RFC 9470 §3). */
function needOf(challenge: string): Need {
  const maxAge = /\bmax_age="?(\d+)/.exec(challenge)?.[1];
  const acrValues = /\bacr_values="([^"]*)"/.exec(challenge)?.[1];
  return { ...(maxAge ? { maxAge: Number(maxAge) } : {}), acrValues: acrValues?.split(" ") ?? [] };
}

const covers = (asked: Need, need: Need): boolean =>
  `${asked.acrValues}` === `${need.acrValues}` && (asked.maxAge ?? Infinity) <= (need.maxAge ?? Infinity);
