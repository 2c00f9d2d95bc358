// Requests that are repeated until the studio answers.

import { Problem, passes, wait } from "./api.js";

const RETRY_S = 2;
const MAX_RETRY_S = 15;
const DOUBLINGS = 3;

export class PatientRequests {
  /** `signal` ends all; `waiting(problem)` is called before each wait, `answered()` after each answer. */
  constructor({ signal, waiting, answered }) {
    Object.assign(this, { signal, waiting, answered });
  }

  /**
   * Repeat a request until it gets an answer other than "not now"; resolve with null once all is ended.
   *
   * `unanswered()` is called where no answer came at all; with true the request is repeated at once.
   */
  async send(request, unanswered = async () => false) {
    for (let tries = 0; ; tries += 1) {
      if (this.signal.aborted) return null;
      try {
        const answer = await request();
        this.answered();
        return answer;
      } catch (error) {
        if (error.name === "AbortError") return null;
        if (!(error instanceof Problem) || !passes(error)) throw error;
        if (error.status === 0 && (await unanswered())) continue;
        this.waiting(error);
        await wait(error.retryAfterS ?? Math.min(MAX_RETRY_S, RETRY_S * 2 ** Math.min(tries, DOUBLINGS)), this.signal);
      }
    }
  }
}
