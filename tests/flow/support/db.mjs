// A look into the tables of a shop, past everything that the server says of itself.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import os from "node:os";
import { until } from "./shop.mjs";

const client = (shop, user, options = []) => spawn("mariadb", [...options, `--socket=${shop.dev.mysql_socket}`, `--user=${user}`,
  "--batch", "--skip-column-names", "--raw", shop.dev.database], { stdio: ["pipe", "pipe", "pipe"] });

const rowsOf = (text) => text.split("\n").slice(0, -1).map((line) => line.split("\t"));

/** Rows as lists of texts; `force` goes on after a statement that failed. */
export async function query(shop, sql, { force = false, user = "moontill" } = {}) {
  const child = client(shop, user, force ? ["--force"] : []);
  const out = { stdout: "", stderr: "" };
  child.stdout.on("data", (piece) => (out.stdout += piece));
  child.stderr.on("data", (piece) => (out.stderr += piece));
  child.stdin.on("error", () => {}); // it was not let in; its exit code tells
  child.stdin.end(sql);
  const [code] = await once(child, "close");
  assert.ok(code === 0 || force, `${sql}\n${out.stderr}`);
  return rowsOf(out.stdout);
}

/** Rows of what only the owner of the database server may see: other people's connections and transactions. */
export const queryAsOwner = (shop, sql, options) => query(shop, sql, { ...options, user: os.userInfo().username });

/** A connection of the owner's that stays: ask(sql) answers with rows also when nobody else is let in. */
export function ownerSession(shop) {
  const END = "--that is all--";
  const child = client(shop, os.userInfo().username, ["--force", "--unbuffered"]);
  let out = "", answered = () => {};
  child.stdout.on("data", (piece) => {
    out += piece;
    if (!out.endsWith(`${END}\n`)) return;
    answered(rowsOf(out.slice(0, -END.length - 1)));
  });
  return {
    ask: (sql) => new Promise((resolve, reject) => {
      out = "";
      answered = resolve;
      child.once("exit", () => reject(new Error(`the owner's connection is gone: ${sql}`)));
      child.stdin.write(`${sql};\nSELECT '${END}';\n`);
    }),
    close: () => child.stdin.end(),
  };
}

/** Waits until `n` transactions are open in all of the server. */
export const transactions = (shop, n) => until(`${n} transactions are open`, async () => {
  await new Promise((go) => setTimeout(go, 150)); // InnoDB keeps the table as it was for whoever looks more often than every 100 ms
  return Number((await queryAsOwner(shop, "SELECT COUNT(*) FROM information_schema.innodb_trx"))[0][0]) === n;
});

/** The only value of the only row. */
export async function value(shop, sql) {
  return (await query(shop, sql))[0]?.[0];
}

export const count = async (shop, table, where = "1") =>
  Number(await value(shop, `SELECT COUNT(*) FROM ${table} WHERE ${where}`));

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // ULIDs are Crockford's base 32

/** 16 bytes of an id as a literal of SQL. */
export function bin(id) {
  let n = 0n;
  for (const c of id.slice(id.indexOf("_") + 1)) n = n * 32n + BigInt(DIGITS.indexOf(c));
  return `x'${n.toString(16).padStart(32, "0")}'`;
}

/** The other way round. */
export function idOf(prefix, hex) {
  let n = BigInt(`0x${hex}`), text = "";
  for (let i = 0; i < 26; ++i, n /= 32n) text = DIGITS[Number(n % 32n)] + text;
  return `${prefix}_${text}`;
}

// Of each payment of an order: what was captured of it, what may be still, and what was lost of it by no decision of the shop's.
const MONEY = `SELECT p.order_id, p.id, p.refunded_amount AS refunded, c.captured,
    IF(p.state IN ('authorized', 'captured', 'disputed', 'won', 'lost'), GREATEST(0, p.amount - p.released_amount - c.captured), 0) AS held,
    p.state = 'authorized' AND p.amount > p.released_amount AND JSON_VALUE(p.data, '$.till.policy.offline') AS awaited,
    (SELECT COALESCE(SUM(e.amount), 0) FROM payment_events e WHERE e.payment_id = p.id AND e.kind = 'voided' AND e.actor <> 'system'
       AND NOT EXISTS (SELECT 1 FROM cancellations x WHERE x.payment_id = p.id AND x.money = 'void')) AS lost,
    IF(EXISTS (SELECT 1 FROM captures x WHERE x.payment_id = p.id AND x.final), p.released_amount, 0) AS let_go
  FROM payments p JOIN (SELECT id, IF(state IN ('captured', 'refunded', 'disputed', 'won', 'lost'), COALESCE(capture_amount, amount), 0) AS captured
    FROM payments) c ON c.id = p.id`;
const SUMS = `SELECT order_id, SUM(captured) AS captured, SUM(captured + held) AS authorized, SUM(refunded) AS refunded,
    SUM(COALESCE(awaited, 0)) AS awaited, SUM(lost) AS lost, SUM(let_go) AS let_go FROM (${MONEY}) m GROUP BY order_id`;
// What banks took back for good of what an order had not given back by itself.
const LOST = `COALESCE((SELECT SUM(LEAST(lost_amount, COALESCE(capture_amount, amount) - refunded_amount)) FROM payments x
    WHERE x.order_id = o.id AND x.lost_amount > 0), 0)`;
const NOTHING_PENDING = "NOT EXISTS (SELECT 1 FROM cancellations x WHERE x.order_id = o.id AND x.state = 'pending')";
const PAID = "('captured', 'partially_refunded', 'refunded')";

// What must hold whatever happened, each as a query that finds the rows where it does not.
const INVARIANTS = {
  "stock is the sum of its events": `
    SELECT HEX(s.variant_id), s.on_hand, s.reserved, SUM(e.on_hand_delta), SUM(e.reserved_delta)
    FROM stock s LEFT JOIN stock_events e USING (variant_id, location_id)
    GROUP BY s.variant_id, s.location_id
    HAVING s.on_hand <> COALESCE(SUM(e.on_hand_delta), 0) OR s.reserved <> COALESCE(SUM(e.reserved_delta), 0)`,
  "stock is never negative": "SELECT HEX(variant_id) FROM stock WHERE on_hand < 0 OR reserved < 0 OR on_hand < reserved",
  "what is reserved is held by somebody": `
    SELECT HEX(s.variant_id), s.reserved, SUM(r.quantity) FROM stock s
    LEFT JOIN reservations r ON r.variant_id = s.variant_id AND r.location_id = s.location_id AND r.state = 'held'
    GROUP BY s.variant_id, s.location_id HAVING s.reserved <> COALESCE(SUM(r.quantity), 0)`,
  "every order has lines": "SELECT number FROM orders o WHERE NOT EXISTS (SELECT 1 FROM order_lines l WHERE l.order_id = o.id)",
  "a cart becomes one order": "SELECT HEX(cart_id) FROM orders WHERE cart_id IS NOT NULL GROUP BY cart_id HAVING COUNT(*) > 1",
  "a completed cart has its order": `
    SELECT HEX(c.id) FROM carts c LEFT JOIN orders o ON o.cart_id = c.id WHERE c.state = 'completed' AND o.id IS NULL`,
  "the ledger sums to zero": `
    SELECT HEX(transaction_id), currency, SUM(amount) FROM ledger_entries
    GROUP BY transaction_id, currency HAVING SUM(amount) <> 0`,
  "an order is paid at most once": `
    SELECT o.number, COUNT(*) FROM payments p JOIN orders o ON o.id = p.order_id WHERE p.state IN ('authorized', 'captured', 'disputed', 'won', 'lost')
      AND JSON_VALUE(p.data, '$.till.order') IS NULL -- what was paid anew besides has the order's total as its bound
    GROUP BY o.id HAVING COUNT(*) > 1 AND (SUM(p.amount) > MAX(o.total) OR SUM(JSON_VALUE(p.data, '$.till.part') IS NULL) > 0)`,
  "an order that says it is paid has what pays for it": `
    SELECT o.number, o.payment_status, GROUP_CONCAT(p.state) FROM orders o LEFT JOIN payments p ON p.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND o.total > 0 AND o.payment_status IN ('authorized', 'captured', 'partially_captured')
    GROUP BY o.id HAVING COALESCE(SUM(IF(p.state IN ('disputed', 'won', 'lost') OR p.state = 'refunded' AND o.payment_status LIKE 'part%', 'captured', p.state)
      = REPLACE(o.payment_status, 'partially_', '')), 0) NOT BETWEEN 1 AND IF(SUM(JSON_VALUE(p.data, '$.till.order') IS NOT NULL) > 0, 99,
        IF(SUM(JSON_VALUE(p.data, '$.till.part') IS NULL) > 0, 1, 5))`,
  "what was captured of a payment is the sum of its captures, and no more than was authorized": `
    SELECT HEX(p.id), p.amount, p.capture_amount, p.released_amount, SUM(e.amount) FROM payments p
    JOIN payment_events e ON e.payment_id = p.id AND e.kind = 'captured' AND p.state IN ('captured', 'refunded', 'disputed', 'won', 'lost')
    GROUP BY p.id HAVING SUM(e.amount) <> p.capture_amount OR SUM(e.amount) + p.released_amount > p.amount`,
  "parts that are done were captured": `
    SELECT HEX(c.payment_id), SUM(c.amount), e.n FROM captures c
    JOIN (SELECT payment_id, SUM(amount) AS n FROM payment_events WHERE kind = 'captured' GROUP BY payment_id) e ON e.payment_id = c.payment_id
    WHERE c.state = 'done' GROUP BY c.payment_id HAVING SUM(c.amount) > e.n`,
  "an order says of its money what its payments come to": `
    SELECT * FROM (SELECT o.number, o.payment_status, m.*, CASE WHEN m.authorized = 0 THEN 'voided' WHEN m.awaited THEN 'awaiting'
        WHEN m.captured = 0 THEN 'authorized' WHEN m.captured < m.authorized THEN 'partially_captured' WHEN m.refunded = 0 THEN 'captured'
        WHEN m.refunded < m.captured THEN 'partially_refunded' ELSE 'refunded' END AS wanted
      FROM orders o JOIN (${SUMS}) m ON m.order_id = o.id WHERE o.cart_id IS NOT NULL AND ${NOTHING_PENDING}) s
    WHERE payment_status <> wanted AND NOT (payment_status = 'partially_captured' AND wanted IN ${PAID} AND lost > 0)`,
  "payments come to the total of their order": `
    SELECT o.number, o.total, SUM(p.amount), GROUP_CONCAT(p.state) FROM orders o JOIN payments p ON p.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND JSON_VALUE(p.data, '$.till.order') IS NULL GROUP BY o.id HAVING SUM(p.amount) <> o.total`,
  "an order that is paid anew holds and takes no more than its total": `
    SELECT o.number, o.total, SUM(p.amount), GROUP_CONCAT(p.state) FROM orders o JOIN payments p ON p.order_id = o.id
    WHERE p.state <> 'voided' GROUP BY o.id HAVING SUM(p.amount - p.released_amount - p.lost_amount) > o.total`,
  "nothing is owed of an order that is paid, but what staff let go of, or gave back at the provider": `
    SELECT o.number, o.payment_status, l.owed, m.* FROM orders o JOIN (${SUMS}) m ON m.order_id = o.id
    JOIN (SELECT order_id, SUM(amount) AS owed FROM ledger_entries WHERE account = 'receivable' GROUP BY order_id) l ON l.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND o.payment_status IN ${PAID} AND ${NOTHING_PENDING} AND l.owed > m.let_go + m.refunded
      - (SELECT COALESCE(SUM(x.amount - x.released_amount), 0) FROM cancellations x WHERE x.order_id = o.id AND x.money = 'refund')`,
  "a code was used as often as orders say": `
    SELECT p.code, p.used, p.usage_limit, COUNT(r.order_id) FROM promotions p LEFT JOIN promotion_redemptions r ON r.promotion_id = p.id
    GROUP BY p.id HAVING p.used <> COUNT(r.order_id) OR p.used > p.usage_limit`,
  "nobody used a code more often than his orders say": `
    SELECT HEX(c.promotion_id), c.customer, c.used FROM promotion_customers c
    WHERE c.used <> (SELECT COUNT(*) FROM promotion_redemptions r WHERE r.promotion_id = c.promotion_id AND r.customer = c.customer)`,
  "cash of an order is booked once for each capture, each dispute that was won and each refund that failed": `
    SELECT HEX(l.order_id), l.account, COUNT(*), e.n FROM ledger_entries l
    LEFT JOIN (SELECT p.order_id, SUM(v.kind IN ('captured', 'won', 'refund_failed')) AS n FROM payments p
               JOIN payment_events v ON v.payment_id = p.id GROUP BY p.order_id) e ON e.order_id = l.order_id
    WHERE l.order_id IS NOT NULL AND l.account LIKE 'cash:%' AND l.amount > 0
      AND NOT EXISTS (SELECT 1 FROM ledger_entries f WHERE f.transaction_id = l.transaction_id AND f.account LIKE 'fees:%'
                      AND f.amount = -l.amount) -- a fee that came back by itself
    GROUP BY l.order_id, l.account HAVING COUNT(*) > GREATEST(1, COALESCE(MAX(e.n), 0))`,
  "what lies in suspense is held of payments without an order": `
    SELECT HEX(p.id), p.state, l.n FROM payments p
    JOIN (SELECT payment_id, SUM(amount) AS n FROM ledger_entries WHERE account LIKE 'suspense:%' GROUP BY payment_id) l
      ON l.payment_id = p.id
    WHERE l.n <> IF(p.order_id IS NULL, p.refunded_amount - COALESCE(p.capture_amount, p.amount), 0)`,
  "what is at the bank is what was paid out, less what came back": `
    SELECT account, currency, SUM(n) FROM (SELECT account, currency, amount AS n FROM ledger_entries WHERE account LIKE 'bank:%'
      UNION ALL SELECT CONCAT('bank:', provider), currency, amount FROM settlement_items WHERE kind LIKE 'payout%' AND fee_booked = 1) moved
    GROUP BY account, currency HAVING SUM(n) <> 0`,
  "what is promised is the sum of its events": `
    SELECT HEX(b.variant_id), b.promised, SUM(e.reserved_delta) FROM backorders b
    LEFT JOIN stock_events e ON e.variant_id = b.variant_id AND e.location_id IS NULL
    GROUP BY b.variant_id HAVING b.promised <> COALESCE(SUM(e.reserved_delta), 0)`,
  "what is promised is waited for by somebody": `
    SELECT HEX(b.variant_id), b.promised, SUM(r.quantity) FROM backorders b LEFT JOIN reservations r
      ON r.variant_id = b.variant_id AND r.location_id IS NULL AND r.state IN ('held', 'backordered')
    GROUP BY b.variant_id HAVING b.promised <> COALESCE(SUM(r.quantity), 0)`,
  "nothing waits that was not promised": `
    SELECT HEX(r.id) FROM reservations r LEFT JOIN backorders b USING (variant_id)
    WHERE r.location_id IS NULL AND r.state IN ('held', 'backordered') AND b.variant_id IS NULL
       OR r.location_id IS NULL AND r.state = 'sold'`,
  "no more is promised than may be": "SELECT HEX(variant_id) FROM backorders WHERE policy <> 'deny' AND promised > unit_limit",
  "every line of an order has its units": `
    SELECT o.number, l.sku, l.quantity, r.units FROM order_lines l JOIN orders o ON o.id = l.order_id
    LEFT JOIN (SELECT cart_id, COALESCE(bundle_id, variant_id) AS bought, variant_id, SUM(quantity) AS units, MAX(per_unit) AS per_unit
               FROM reservations WHERE state IN ('sold', 'backordered') GROUP BY cart_id, bought, variant_id) r
      ON r.cart_id = o.cart_id AND r.bought = l.variant_id
    WHERE o.cart_id IS NOT NULL AND COALESCE(r.units, 0) <> (l.quantity - l.cancelled_quantity) * COALESCE(r.per_unit, 1)`,
  "what has left the stock is what orders hold": `
    SELECT HEX(e.variant_id), -SUM(e.on_hand_delta), MAX(r.units) FROM stock_events e
    LEFT JOIN (SELECT variant_id, SUM(quantity) AS units FROM reservations WHERE state = 'sold' GROUP BY variant_id) r USING (variant_id)
    WHERE e.type IN ('sold', 'allotted', 'returned') AND LEFT(e.reference, 4) <> 'ret_' GROUP BY e.variant_id
    HAVING -SUM(e.on_hand_delta) <> COALESCE(MAX(r.units), 0)`,
  "what came back into stock is on the lines of returns": `
    SELECT s.variant, s.location, s.n, e.n FROM (SELECT j.variant, j.location, SUM(j.quantity) AS n FROM cancellations c,
        JSON_TABLE(c.\`lines\`, '$[*].stock[*]' COLUMNS (variant VARCHAR(40) PATH '$.variant_id', location VARCHAR(64) PATH '$.location',
          quantity BIGINT PATH '$.quantity')) j WHERE c.kind = 'return' AND j.variant IS NOT NULL GROUP BY j.variant, j.location) s
    LEFT JOIN (SELECT l.code, SUM(on_hand_delta) AS n FROM stock_events e
               JOIN locations l ON l.id = e.location_id WHERE LEFT(e.reference, 4) = 'ret_' GROUP BY l.code) e ON e.code = s.location
    GROUP BY s.location HAVING SUM(s.n) <> COALESCE(MAX(e.n), 0)`,
  "a line lacks what its reservations lack": `
    SELECT o.number, l.sku, l.backordered_quantity, r.waits FROM order_lines l JOIN orders o ON o.id = l.order_id
    LEFT JOIN (SELECT cart_id, bought, MAX(CEIL(units / per_unit)) AS waits FROM
                 (SELECT cart_id, COALESCE(bundle_id, variant_id) AS bought, SUM(quantity) AS units, MAX(per_unit) AS per_unit
                  FROM reservations WHERE state = 'backordered' GROUP BY cart_id, bought, variant_id) parts
               GROUP BY cart_id, bought) r ON r.cart_id = o.cart_id AND r.bought = l.variant_id
    WHERE o.cart_id IS NOT NULL AND l.backordered_quantity <> COALESCE(r.waits, 0)`,
  "what is in parcels is counted on the line": `
    SELECT HEX(l.id), l.fulfilled_quantity, f.n FROM order_lines l JOIN orders o ON o.id = l.order_id
    LEFT JOIN (SELECT fl.line_id, SUM(fl.quantity) AS n FROM fulfilment_lines fl JOIN fulfilments f ON f.id = fl.fulfilment_id
               WHERE f.status <> 'cancelled' GROUP BY fl.line_id) f ON f.line_id = l.id
    WHERE o.cart_id IS NOT NULL AND l.fulfilled_quantity <> COALESCE(f.n, 0)`,
  "what is cancelled is counted on the lines": `
    SELECT o.number, l.n, c.n FROM orders o
    JOIN (SELECT order_id, SUM(cancelled_quantity) AS n FROM order_lines GROUP BY order_id) l ON l.order_id = o.id
    LEFT JOIN (SELECT c.order_id, SUM(j.quantity) AS n FROM cancellations c,
                 JSON_TABLE(c.\`lines\`, '$[*]' COLUMNS (quantity BIGINT PATH '$.quantity')) j WHERE c.kind = 'cancel' GROUP BY c.order_id) c
      ON c.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND l.n <> COALESCE(c.n, 0)`,
  "what came back is counted on the lines": `
    SELECT o.number, l.n, c.n FROM orders o
    JOIN (SELECT order_id, SUM(returned_quantity) AS n FROM order_lines GROUP BY order_id) l ON l.order_id = o.id
    LEFT JOIN (SELECT c.order_id, SUM(j.quantity) AS n FROM cancellations c,
                 JSON_TABLE(c.\`lines\`, '$[*]' COLUMNS (quantity BIGINT PATH '$.quantity')) j WHERE c.kind = 'return' GROUP BY c.order_id) c
      ON c.order_id = o.id WHERE l.n <> COALESCE(c.n, 0)`,
  "nothing comes back that was not handed over": `
    SELECT HEX(l.id), l.returned_quantity, f.n FROM order_lines l
    LEFT JOIN (SELECT fl.line_id, SUM(fl.quantity) AS n FROM fulfilment_lines fl JOIN fulfilments f ON f.id = fl.fulfilment_id
               WHERE f.status = 'shipped' GROUP BY fl.line_id) f ON f.line_id = l.id JOIN orders o ON o.id = l.order_id
    WHERE o.cart_id IS NOT NULL AND l.returned_quantity > COALESCE(f.n, 0)`,
  "an order says what of it came back": `
    SELECT o.number, o.return_status, u.sent, u.back FROM orders o JOIN (SELECT order_id, SUM(fulfilled_quantity) AS sent,
        SUM(returned_quantity) AS back FROM order_lines GROUP BY order_id) u ON u.order_id = o.id
    WHERE o.return_status <> IF(u.back = 0, 'none', IF(u.back < u.sent, 'partial', 'returned'))`,
  "of an order of which nothing is kept nothing is owed": `
    SELECT o.number, o.total, c.gone FROM orders o JOIN (SELECT order_id, SUM(quantity - cancelled_quantity - returned_quantity) AS kept
        FROM order_lines GROUP BY order_id) l ON l.order_id = o.id
    JOIN (SELECT order_id, SUM(amount) AS gone, MAX(kind) AS kind FROM cancellations GROUP BY order_id) c ON c.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND l.kept = 0
      AND c.gone <> o.total - ${LOST}
      AND (SELECT kind FROM cancellations x WHERE x.order_id = o.id ORDER BY position DESC LIMIT 1) = 'return'`,
  "an order is where its units are": `
    SELECT o.number, o.status, o.fulfilment_status, u.sent, u.gone, u.open FROM orders o JOIN (
      SELECT order_id, SUM(fulfilled_quantity) AS sent, SUM(cancelled_quantity) AS gone,
             SUM(quantity - fulfilled_quantity - cancelled_quantity) AS open FROM order_lines GROUP BY order_id) u ON u.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND (o.fulfilment_status <> CASE WHEN u.open > 0 THEN IF(u.sent > 0, 'partial', 'unfulfilled')
        WHEN u.sent > 0 OR u.gone = 0 THEN 'fulfilled' ELSE 'cancelled' END
      OR (o.status = 'cancelled') <> (u.open = 0 AND u.sent = 0 AND u.gone > 0))`,
  "what an order owes is what was sold less what was cancelled and paid": `
    SELECT o.number, o.total, l.owed, c.gone, p.paid FROM orders o
    LEFT JOIN (SELECT order_id, SUM(amount) AS owed FROM ledger_entries WHERE account = 'receivable' GROUP BY order_id) l ON l.order_id = o.id
    LEFT JOIN (SELECT order_id, SUM(amount) AS gone FROM cancellations GROUP BY order_id) c ON c.order_id = o.id
    LEFT JOIN (SELECT order_id, SUM(IF(state IN ('captured', 'refunded', 'disputed', 'won', 'lost'), COALESCE(capture_amount, amount) - refunded_amount, 0)) AS paid
               FROM payments GROUP BY order_id) p ON p.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND COALESCE(l.owed, 0) <> o.total - COALESCE(c.gone, 0) - COALESCE(p.paid, 0)`,
  "cash is what payments say": `
    SELECT HEX(p.id), p.state, p.capture_amount, p.refunded_amount, l.cash FROM payments p
    LEFT JOIN (SELECT payment_id, SUM(amount) AS cash FROM ledger_entries WHERE account LIKE 'cash:%' GROUP BY payment_id) l ON l.payment_id = p.id
    WHERE p.order_id IS NOT NULL AND COALESCE(l.cash, 0) <>
      IF(p.state IN ('captured', 'refunded', 'disputed', 'won', 'lost'),
         COALESCE(p.capture_amount, p.amount) - p.refunded_amount - p.disputed_amount - p.lost_amount
           - (SELECT COALESCE(SUM(fee), 0) FROM payment_events f WHERE f.payment_id = p.id), 0)`,
  "a payment is what its events come to": `
    SELECT HEX(p.id), p.state, p.amount, p.capture_amount, p.refunded_amount, e.* FROM payments p
    LEFT JOIN (SELECT payment_id, SUM(IF(kind = 'created', amount, 0)) AS asked, SUM(IF(kind = 'captured', amount, 0)) AS captured,
                 SUM(CASE kind WHEN 'refunded' THEN amount WHEN 'refund_failed' THEN -amount ELSE 0 END) AS refunded,
                 SUM(IF(kind = 'disputed', amount, 0)) AS disputed, MAX(seq) AS last
               FROM payment_events GROUP BY payment_id) e ON e.payment_id = p.id
    LEFT JOIN payment_events l ON l.payment_id = e.payment_id AND l.seq = e.last
    WHERE e.asked IS NULL OR e.asked <> p.amount OR e.refunded <> p.refunded_amount
       OR e.captured <> IF(p.state IN ('captured', 'refunded', 'disputed', 'won', 'lost'), COALESCE(p.capture_amount, p.amount), 0)
       OR p.disputed_amount + p.lost_amount > e.disputed OR (p.state = 'disputed' AND p.disputed_amount = 0)
       OR (p.state = 'won' AND p.lost_amount > 0)
       OR NOT CASE l.kind WHEN 'send' THEN p.state = 'sending' WHEN 'not_found' THEN p.state = 'failed'
            WHEN 'won' THEN p.state IN ('won', 'refunded', 'disputed', 'lost') WHEN 'lost' THEN p.state IN ('lost', 'disputed')
            WHEN 'refund_failed' THEN p.state IN ('captured', 'disputed', 'won', 'lost')
            WHEN 'voided' THEN p.state IN ('voided', 'authorized', 'captured', 'refunded')
            WHEN 'refunded' THEN p.state IN ('refunded', 'captured', 'disputed', 'won', 'lost') ELSE p.state = l.kind END`,
  "what failed is a refund, and no more of it than it gave back": `
    SELECT HEX(f.payment_id), f.reference, f.amount, r.amount FROM payment_events f LEFT JOIN payment_events r
      ON r.payment_id = f.payment_id AND r.kind = 'refunded' AND r.reference = f.reference
    WHERE f.kind = 'refund_failed' AND (r.amount IS NULL OR f.amount > r.amount)`,
  "no more goes back than was captured": "SELECT HEX(id) FROM payments WHERE refunded_amount > COALESCE(capture_amount, amount)",
  "a cancelled order was given back to the cent": `
    SELECT o.number, o.total, SUM(c.amount) FROM orders o JOIN cancellations c ON c.order_id = o.id
    WHERE o.status = 'cancelled' GROUP BY o.id
    HAVING SUM(c.amount) <> o.total - ${LOST}`,
  "what waits for its money has a flow that sees to it": `
    SELECT * FROM (SELECT (SELECT COUNT(*) FROM cancellations WHERE state = 'pending') AS waits,
      (SELECT COUNT(*) FROM sagas WHERE name = 'cancellation' AND state IN ('running', 'waiting', 'parked')) AS flows) n WHERE waits <> flows`,
  "a bundle has no stock of its own": `
    SELECT HEX(s.variant_id) FROM stock s JOIN bundle_parts p ON p.bundle_id = s.variant_id WHERE s.on_hand <> 0 OR s.reserved <> 0`,
};

const PAID_NOW = new Set(["captured", "partially_refunded"]);

/** Each order is told of as paid when it is, once, and not while it never was. */
async function assertPaid(shop) {
  const rows = await query(shop, `SELECT 'order', HEX(id), status, payment_status, paid_at IS NOT NULL FROM orders WHERE cart_id IS NOT NULL
    UNION ALL SELECT 'paid', aggregate, COUNT(*), '', 0 FROM outbox WHERE type = 'order.paid' GROUP BY aggregate`);
  const told = new Map(rows.filter(([what]) => what === "paid").map(([, aggregate, n]) => [aggregate, Number(n)]));
  const wrong = rows.filter(([what]) => what === "order").filter(([, hex, status, payment, was]) => {
    const n = told.get(`order:${idOf("ord", hex)}`) ?? 0;
    // one that was captured in part and cancelled, or given back whole, was never paid
    return n !== Number(was) || (was === "0" && status !== "cancelled" && PAID_NOW.has(payment));
  });
  assert.deepEqual(wrong, [], "an order is told of as paid when it is, and once");
}

/** A capture that has no outcome yet has an event that goes on with it, or that staff see dead. */
async function assertGoesOn(shop) {
  const rows = await query(shop, `SELECT 'open', HEX(id), state, amount FROM captures WHERE state IN ('queued', 'asked')
    UNION ALL SELECT 'event', JSON_VALUE(payload, '$.capture_id'), state, 0 FROM outbox WHERE type = 'payment.capture_part' AND state <> 'done'`);
  const events = new Set(rows.filter(([what]) => what === "event").map(([, id]) => id));
  const wrong = rows.filter(([what, hex]) => what === "open" && !events.has(idOf("cap", hex)));
  assert.deepEqual(wrong, [], "a capture without an outcome has an event that goes on with it");
}

/** The names of all that must hold, whatever happened and at rest. */
export const invariants = () => [...Object.keys(INVARIANTS), ...Object.keys(AT_REST)];

/** The names of those that `sql` breaks. It is undone: nobody sees it. */
export async function brokenBy(shop, sql) {
  const all = Object.entries({ ...INVARIANTS, ...AT_REST });
  const asked = all.map(([name, text]) => `SELECT '${name.replaceAll("'", "''")}' FROM DUAL WHERE EXISTS (${text});`).join("\n");
  const rows = await query(shop, `SET foreign_key_checks = 0, check_constraint_checks = 0; START TRANSACTION; ${sql};\n${asked}\nROLLBACK`);
  return rows.map(([name]) => name);
}

/** Fails with the rows that break one of the shop's invariants. */
export async function assertInvariants(shop) {
  for (const [name, sql] of Object.entries(INVARIANTS))
    assert.deepEqual(await query(shop, sql), [], name);
  await assertGoesOn(shop);
  await assertPaid(shop);
}

// What must hold besides once nothing is under way any more.
const AT_REST = {
  "no event is lost": "SELECT id, aggregate, type, state, attempts, last_error FROM outbox WHERE state = 'pending'",
  "a dead letter says why": "SELECT id, type FROM outbox WHERE state = 'dead' AND COALESCE(last_error, '') = ''",
  "no capture is left half done": "SELECT HEX(payment_id), state, amount FROM captures WHERE state IN ('queued', 'asked')",
  "no flow is left half done": "SELECT name, aggregate, state, error FROM sagas WHERE state IN ('running', 'waiting')",
  "no flow waits for staff without a reason": "SELECT name, aggregate FROM sagas WHERE state = 'parked' AND COALESCE(error, '') = ''",
  "no reservation outlives its time": `
    SELECT HEX(r.cart_id), r.quantity, r.expires_at, c.state FROM reservations r LEFT JOIN carts c ON c.id = r.cart_id
    WHERE r.state = 'held' AND r.expires_at < UTC_TIMESTAMP(3)`,
  "every payment has its order or was let go": `
    SELECT HEX(id), provider, state FROM payments
    WHERE order_id IS NULL AND state IN ('sending', 'unknown', 'authorized', 'captured')`,
  "the provider holds money for orders only": `
    SELECT t.idem_key, t.state FROM payment_test_attempts t LEFT JOIN payments p ON p.idem_key = t.idem_key AND p.provider = 'test'
    WHERE t.state IN ('authorized', 'captured') AND p.order_id IS NULL`,
  "the provider's books say what ours say": `
    SELECT t.idem_key, t.state, p.state, t.captured_amount, p.capture_amount, p.refunded_amount, r.back FROM payment_test_attempts t
    JOIN payments p ON p.idem_key = t.idem_key AND p.provider = 'test'
    LEFT JOIN (SELECT idem_key, SUM(amount) AS back FROM payment_test_refunds GROUP BY idem_key) r ON r.idem_key = t.idem_key
    WHERE p.order_id IS NOT NULL AND (t.state <> p.state AND NOT (t.state = 'authorized' AND p.state = 'captured' AND p.capture_amount < p.amount)
      OR COALESCE(r.back, 0) <> p.refunded_amount OR p.state = 'captured' AND t.captured_amount <> COALESCE(p.capture_amount, p.amount))`,
};

/** Each order was announced once: none of its events is lost, none was written twice. */
async function assertAnnounced(shop) {
  const ids = await query(shop, "SELECT HEX(id) FROM orders WHERE cart_id IS NOT NULL");
  const events = await query(shop, "SELECT aggregate, COUNT(*) FROM outbox WHERE type = 'order.placed' GROUP BY aggregate");
  const announced = new Map(events);
  const wrong = ids.map(([hex]) => `order:${idOf("ord", hex)}`).filter((aggregate) => announced.get(aggregate) !== "1");
  assert.deepEqual(wrong, [], "every order was announced once");
  assert.equal(events.length, ids.length, "no event speaks of an order that is not there");
}

/** Waits until nothing is under way, by itself; then all of the invariants must hold. `limitMs` is what repairs may take. */
export async function assertSettled(shop, limitMs = 60_000) {
  for (const [name, sql] of Object.entries(AT_REST)) {
    let rows = [];
    await until(name, async () => (rows = await query(shop, sql)).length === 0, limitMs)
      .catch((error) => assert.deepEqual(rows, [], `${name}: ${error.message}`));
  }
  await assertAnnounced(shop);
  await assertInvariants(shop);
}
