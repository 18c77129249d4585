// Webhooks on their way to a shop: its certificate is of its own authority, which nobody else believes, so what comes here goes on to it.
import http from "node:http";

/** {url, statuses, stop()}: `statuses` counts what the shop answered; 503 where it did not. */
export async function relayToShop(shop, path = "/hooks/v1/payment-stripe") {
  const statuses = {};
  const server = http.createServer(async (request, answer) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const got = await shop.h2("POST", path, { key: null, body: Buffer.concat(pieces),
      headers: { "content-type": "application/json", "stripe-signature": request.headers["stripe-signature"] } }).catch(() => ({ status: 503 }));
    statuses[got.status] = (statuses[got.status] ?? 0) + 1;
    answer.writeHead(got.status).end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, statuses, stop: () => server.close(server.closeAllConnections()) };
}
