// The database dies under a request that has claimed its Idempotency-Key: 503, and whoever asks again under that key
// once the database is back is served, not told to wait for a request that is long over.
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { Shop, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { count, ownerSession, query } from "./support/db.mjs";
import { serverOf } from "./support/process.mjs";

const LEASE_MS = 600_000; // far longer than the test: nothing here ends by it

let shop, variant;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", "server.jobs_workers=0",
    "--set", `idem.lease_ms=${LEASE_MS}`, "--set", "server.request_timeout_ms=60000", "--set", "mysql.query_timeout_ms=60000"] });
  ({ variant } = await makeProduct(shop, { stock: 5 }));
});
after(() => shop?.stop());

it("a key whose request was ended by the database is free when that is back", async () => {
  const key = newKey();
  const adjust = () => shop.admin("POST", `/inventory/${encodeURIComponent(variant.sku)}/adjustments`,
    { body: { delta: 1, reason: "found" }, headers: { "idempotency-key": key } });
  const owner = ownerSession(shop);
  await owner.ask("BEGIN");
  await owner.ask("SELECT variant_id FROM stock FOR UPDATE");
  const first = adjust();
  await until("it has claimed its key and waits for the row", async () =>
    (await query(shop, "SELECT id FROM information_schema.PROCESSLIST WHERE user = 'moontill' AND info LIKE '%FOR UPDATE%' AND command <> 'Sleep'")).length > 0
    && (await count(shop, "idempotency_records", `idem_key = '${key}' AND state = 'running'`)) === 1);
  const pid = serverOf(shop, "mariadbd");
  process.kill(pid, "SIGKILL");
  owner.close();
  const refused = await first;
  assertProblem(refused, 503, "conn_lost");
  assert.ok(Number(refused.headers["retry-after"]) >= 1);
  const again = await until("the database is back", async () => {
    const answer = await adjust();
    return answer.status !== 503 && answer;
  }, 60_000);
  assertOk(again, 201);
  assert.equal(again.body.inventory.on_hand, 6);
  const replayed = await adjust();
  assert.equal(replayed.headers["idempotent-replayed"], "true");
  assert.equal(await count(shop, "stock_events", "reason = 'found'"), 1);
});
