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

/** 16 bytes of an id as a literal of SQL: ULIDs are Crockford's base 32. */
export function bin(id) {
  const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  let n = 0n;
  for (const c of id.slice(id.indexOf("_") + 1)) n = n * 32n + BigInt(digits.indexOf(c));
  return `x'${n.toString(16).padStart(32, "0")}'`;
}

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
    SELECT HEX(order_id), COUNT(*) FROM payments WHERE order_id IS NOT NULL AND state IN ('authorized', 'captured')
    GROUP BY order_id HAVING COUNT(*) > 1`,
  "cash of an order is booked at most once": `
    SELECT HEX(order_id), account FROM ledger_entries WHERE account LIKE 'cash:%' AND amount > 0
    GROUP BY order_id, account HAVING COUNT(*) > 1`,
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
    WHERE o.cart_id IS NOT NULL AND l.kept = 0 AND c.gone <> o.total
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
    LEFT JOIN (SELECT order_id, SUM(IF(state IN ('captured', 'refunded'), COALESCE(capture_amount, amount) - refunded_amount, 0)) AS paid
               FROM payments GROUP BY order_id) p ON p.order_id = o.id
    WHERE o.cart_id IS NOT NULL AND COALESCE(l.owed, 0) <> o.total - COALESCE(c.gone, 0) - COALESCE(p.paid, 0)`,
  "cash is what payments say": `
    SELECT HEX(p.id), p.state, p.capture_amount, p.refunded_amount, l.cash FROM payments p
    LEFT JOIN (SELECT payment_id, SUM(amount) AS cash FROM ledger_entries WHERE account LIKE 'cash:%' GROUP BY payment_id) l ON l.payment_id = p.id
    WHERE p.order_id IS NOT NULL AND COALESCE(l.cash, 0) <>
      IF(p.state IN ('captured', 'refunded'), COALESCE(p.capture_amount, p.amount) - p.refunded_amount, 0)`,
  "no more goes back than was captured": "SELECT HEX(id) FROM payments WHERE refunded_amount > COALESCE(capture_amount, amount)",
  "a cancelled order was given back to the cent": `
    SELECT o.number, o.total, SUM(c.amount) FROM orders o JOIN cancellations c ON c.order_id = o.id
    WHERE o.status = 'cancelled' GROUP BY o.id HAVING SUM(c.amount) <> o.total`,
  "what waits for its money has a flow that sees to it": `
    SELECT * FROM (SELECT (SELECT COUNT(*) FROM cancellations WHERE state = 'pending') AS waits,
      (SELECT COUNT(*) FROM sagas WHERE name = 'cancellation' AND state IN ('running', 'waiting', 'parked')) AS flows) n WHERE waits <> flows`,
  "a bundle has no stock of its own": `
    SELECT HEX(s.variant_id) FROM stock s JOIN bundle_parts p ON p.bundle_id = s.variant_id WHERE s.on_hand <> 0 OR s.reserved <> 0`,
};

/** Fails with the rows that break one of the shop's invariants. */
export async function assertInvariants(shop) {
  for (const [name, sql] of Object.entries(INVARIANTS))
    assert.deepEqual(await query(shop, sql), [], name);
}
