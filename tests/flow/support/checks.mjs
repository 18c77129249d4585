// What answers of one kind have in common.
import assert from "node:assert/strict";

const LEAKS = /\bSELECT\b.+\bFROM\b|\bINSERT INTO\b|\bUPDATE \w+ SET\b|stack traceback|\.lua:\d+|mysql|mariadb/i;

/** A refusal in the form of RFC 9457; gives its document back. */
export function assertProblem(answer, status, code) {
  assert.equal(answer.status, status, `${answer.status} instead of ${status} ${code}: ${answer.text}`);
  assert.match(answer.headers["content-type"] ?? "", /^application\/problem\+json/);
  const doc = answer.body;
  assert.equal(doc.code, code, answer.text);
  assert.equal(doc.status, status, answer.text);
  assert.match(doc.type, new RegExp(`#${code}$`));
  for (const name of ["title", "detail", "instance"]) assert.ok(doc[name]?.length > 0, `${name}: ${answer.text}`);
  assert.match(doc.trace_id, /^[0-9a-f]{32}$/);
  for (const e of doc.errors ?? []) {
    assert.match(e.pointer, /^(\/([^~]|~0|~1)*)*$/);
    assert.ok(e.detail.length > 0, answer.text);
  }
  assert.doesNotMatch(answer.text, LEAKS, "nothing of the machinery leaves the house");
  return doc;
}

/** 422 that points at `pointer`. */
export function assertPointsAt(answer, pointer, code = "invalid_request") {
  const doc = assertProblem(answer, 422, code);
  assert.ok(doc.errors?.some((e) => e.pointer === pointer), `${pointer} is not in ${answer.text}`);
  return doc;
}

export function assertOk(answer, status) {
  assert.ok(status ? answer.status === status : answer.status >= 200 && answer.status < 300,
    `${answer.status} instead of ${status ?? "2xx"}: ${answer.text}`);
  return answer.body;
}
