// Idempotency-Key as Stripe documents it: the first answer again, errors and 500 among them; other parameters under a
// key are refused, and so is a second request while the first is under way. What was refused before it was begun (its
// parameters, a rate limit) leaves no trace. Keys are forgotten after 24 hours.
import { StripeError, invalid } from "./errors.mjs";

const KEPT_S = 24 * 3600;

const error = (status, message, more) => new StripeError(status, { type: "idempotency_error", message, ...more });

export class Idempotency {
  #records = new Map(); // key -> {fingerprint, at, answer | undefined while it is under way}

  /** The finished record of this key, or undefined where the request is to be done: then `finish` or `forget` follows. */
  begin(key, fingerprint, now) {
    if (key.length > 255) throw invalid("Idempotency keys are at most 255 characters.");
    const found = this.#records.get(key);
    if (!found || now - found.at > KEPT_S) {
      this.#records.set(key, { fingerprint, at: now });
      return undefined;
    }
    if (found.fingerprint !== fingerprint)
      throw error(400, `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`);
    if (!found.answer)
      throw error(409, `There is currently another in-progress request using this Idempotency Key: ${key}`, { code: "idempotency_key_in_use" });
    return found.answer;
  }

  finish(key, answer) {
    this.#records.get(key).answer = answer;
  }

  forget(key) {
    this.#records.delete(key);
  }
}
