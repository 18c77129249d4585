// 100,000 reservations that end at once, half of them of one SKU, beside shoppers: their p99 then, and before.
import os from "node:os";
import { run } from "./lib/load.mjs";
import { journeys } from "./journey.mjs";

const MANY = 100_000, SHOPPERS = 4;

async function sql(shop, text) {
  const args = ["--no-defaults", "-N", "-S", shop.mysql_socket, "-u", os.userInfo().username, shop.database, "--delimiter=//", "-e", text];
  return (await run("mariadb", args)).stdout;
}

/** Held for a day by carts that nobody knows; the projection and the log say the same. */
const hold = (shop) => sql(shop, `
  CREATE TEMPORARY TABLE places AS SELECT ROW_NUMBER() OVER (ORDER BY variant_id) AS n, variant_id, location_id FROM stock //
  ALTER TABLE places ADD PRIMARY KEY (n) //
  SET @places = (SELECT COUNT(*) FROM places) //
  START TRANSACTION //
  INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity, state, expires_at)
    SELECT UNHEX(MD5(CONCAT('r', seq))), UNHEX(MD5(CONCAT('c', seq))), variant_id, location_id, 1, 'held',
      UTC_TIMESTAMP(3) + INTERVAL 1 DAY FROM seq_1_to_${MANY} JOIN places ON n = IF(seq % 2, 1, 1 + seq % @places) //
  UPDATE stock s JOIN (SELECT variant_id, location_id, COUNT(*) AS held FROM seq_1_to_${MANY}
    JOIN places ON n = IF(seq % 2, 1, 1 + seq % @places) GROUP BY variant_id, location_id) h USING (variant_id, location_id)
    SET s.reserved = s.reserved + h.held, s.on_hand = s.on_hand + h.held //
  INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta, reserved_delta, reason)
    SELECT variant_id, location_id, 'received', 1, 1, 1, 'bench' FROM seq_1_to_${MANY} JOIN places ON n = IF(seq % 2, 1, 1 + seq % @places) //
  COMMIT //`);

const endAt = (shop, when, where) => sql(shop, `UPDATE reservations SET expires_at = ${when} WHERE state = 'held' AND ${where} //`);
const ended = async (shop) => Number(await sql(shop, "SELECT COUNT(*) FROM stock_events WHERE type = 'expired' //"));

export default async function (bench) {
  const shop = await bench.shop();
  const ratios = [], quiet = [], busy = [], gone = [];
  await journeys(shop, SHOPPERS, bench.seconds);
  await hold(shop);
  for (let round = 0; round < bench.rounds; round++) {
    const without = await journeys(shop, SHOPPERS, bench.seconds * 4);
    const before = await ended(shop);
    await endAt(shop, "'2020-01-01'", "1");
    const during = await journeys(shop, SHOPPERS, bench.seconds * 4);
    gone.push((await ended(shop)) - before);
    await endAt(shop, "UTC_TIMESTAMP(3) + INTERVAL 1 DAY", "expires_at < '2021-01-01'"); // what is left is the next round's
    quiet.push(without.p99);
    busy.push(during.p99);
    ratios.push(during.p99 / without.p99);
  }
  bench.spread("p99 of shoppers' requests", quiet, "ms");
  bench.spread(`p99 while ${MANY} reservations end`, busy, "ms");
  bench.spread("  of them ended meanwhile", gone, "");
  bench.spread("  against the p99 without", ratios, "", { most: 1.5 });
}
