// Bytes on a TLS socket, as no client would send them.
import tls from "node:tls";

/** Sends `pieces` (texts or Buffers) and gathers what comes until the other side closes: {text, closed}. */
export function exchange(shop, pieces, { limitMs = 10_000, gapMs = 0, until } = {}) {
  return new Promise((resolve) => {
    const socket = tls.connect({ host: "127.0.0.1", port: shop.port, ca: shop.ca, servername: "localhost", ALPNProtocols: ["http/1.1"] });
    const answer = { text: "", closed: false, ms: 0 };
    const began = Date.now();
    const finish = (closed) => {
      clearTimeout(limit);
      socket.destroy();
      resolve({ ...answer, closed, ms: Date.now() - began });
    };
    const limit = setTimeout(() => finish(false), limitMs);
    socket.on("data", (piece) => {
      answer.text += piece.toString("latin1");
      if (until?.(answer.text)) finish(false);
    });
    socket.on("error", () => {});
    socket.on("close", () => finish(true));
    socket.on("secureConnect", async () => {
      for (const piece of pieces) {
        if (socket.destroyed) return;
        socket.write(typeof piece === "string" ? Buffer.from(piece, "latin1") : piece);
        if (gapMs) await new Promise((go) => setTimeout(go, gapMs));
      }
    });
  });
}

/** The status lines in it, as numbers; of interim answers too. */
export const statuses = (text) => [...text.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map((m) => Number(m[1]));
