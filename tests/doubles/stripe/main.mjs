// main.mjs [PORT] - the double by itself, for a shop that is tried by hand. TERM ends it.
import { StripeDouble } from "./double.mjs";

const double = await StripeDouble.start({ port: Number(process.argv[2] ?? 12111) });
console.log(`ready ${double.url} key ${double.key}`);
process.once("SIGTERM", () => double.stop());
