// Form bodies and query strings as Stripe reads them: `a[b]=1`, `a[0][c]=2`, `a[]=3`.
//
// The answer is objects of texts; what is an array only the schema knows. What Stripe would guess about (a name twice, a
// name that is a value and an object) is refused: whoever sends such has made a mistake.
import { invalid } from "./errors.mjs";

const MAX_DEPTH = 10;

function decode(text) {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw invalid(`Invalid percent-encoding: ${text.slice(0, 80)}`);
  }
}

function keysOf(name) {
  const whole = /^([^[\]]+)((?:\[[^[\]]*\])*)$/.exec(name);
  if (!whole) throw invalid(`Invalid parameter name: ${name}`, { param: name });
  const keys = [whole[1], ...[...whole[2].matchAll(/\[([^[\]]*)\]/g)].map((found) => found[1])];
  if (keys.length > MAX_DEPTH) throw invalid(`Too deeply nested: ${name}`, { param: name });
  return keys;
}

function put(into, keys, value, name) {
  const [head, ...rest] = keys;
  const key = head === "" ? String(Object.keys(into).length) : head;
  if (rest.length === 0) {
    if (key in into) throw invalid(`Parameter given twice: ${name}`, { param: name });
    into[key] = value;
    return;
  }
  into[key] ??= Object.create(null);
  if (typeof into[key] !== "object") throw invalid(`Parameter is a value and an object: ${name}`, { param: name });
  put(into[key], rest, value, name);
}

export function decodeForm(text) {
  const out = Object.create(null);
  for (const pair of text.split("&")) {
    if (pair === "") continue;
    const at = pair.indexOf("=");
    const name = decode(at < 0 ? pair : pair.slice(0, at));
    put(out, keysOf(name), at < 0 ? "" : decode(pair.slice(at + 1)), name);
  }
  return out;
}
