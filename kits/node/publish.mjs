// Publish purchases, one JSON object a line, and print the event id of each once the broker has it.
//
//   node kits/node/publish.mjs < purchases.jsonl
//
// May be run again with the same lines, after whatever went wrong: each purchase brings its `event_id`, and is decided
// once, however often it is published.
import { createInterface } from "node:readline";
import kafkajs from "kafkajs";
import { connection, ContractBroken, messageNamed } from "./contract.mjs";

const message = messageNamed("transaction");

/** Its event id, once all replicas in sync have the record. Throws ContractBroken before anything is sent. */
async function publish(purchase, producer) {
  message.check(purchase);
  // One made up here would be another one when the line is published again, and the purchase decided twice.
  if (!(message.eventField in purchase)) {
    throw new ContractBroken(`$: ${message.eventField} is missing, by which it is known when it is sent again`);
  }
  const record = { key: String(purchase[message.keyField]), value: JSON.stringify(purchase) };
  await producer.send({ topic: message.topic, acks: -1, messages: [record] });
  return purchase[message.eventField];
}

// Idempotent: the client's own retries neither double nor reorder.
const producer = connection("kit-node").producer({
  idempotent: true,
  maxInFlightRequests: 1,
  createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
});
await producer.connect();
let number = 0;
try {
  for await (const line of createInterface({ input: process.stdin })) {
    number += 1;
    try {
      console.log(await publish(JSON.parse(line), producer));
    } catch (wrong) {
      if (!(wrong instanceof ContractBroken || wrong instanceof SyntaxError)) throw wrong;
      console.error(`line ${number}: ${wrong.message}`);
      process.exitCode = 1;
    }
  }
} finally {
  await producer.disconnect();
}
