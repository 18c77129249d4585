// A thread that makes one attack of attacks.mjs, again and again until it is told to stop.
import { parentPort, workerData } from "node:worker_threads";
import { ATTACKS } from "./attacks.mjs";

let isDone = false;
parentPort.once("message", () => (isDone = true));

const results = [];
do results.push(await ATTACKS[workerData.name](workerData.place));
while (!isDone);
parentPort.postMessage(results);
