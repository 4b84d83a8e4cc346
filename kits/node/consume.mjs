// Keep every decision, each once, whatever is killed on the way.
//
//   node kits/node/consume.mjs decisions --until order-1
//
// Reading is at least once: an offset is committed only after its decision is stored, so a process that ends in between
// reads it again. Storing is idempotent: a decision is one file, named by its event's id and put in place whole; a
// decision that is repeated has the same bytes. Together each takes effect exactly once.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, open, unlink } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connection, messageNamed } from "./contract.mjs";

const message = messageNamed("decision");
const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { group: { type: "string", default: "kit-node" }, until: { type: "string" } },
});
if (positionals.length !== 1) {
  console.error("usage: consume.mjs FOLDER [--group NAME] [--until EVENT_ID]");
  process.exit(2);
}
const [folder] = positionals;
await mkdir(folder, { recursive: true });

/** Event ids are anybody's text, file names are not. */
const fileOf = (eventId) => join(folder, `${createHash("sha256").update(eventId).digest("hex")}.json`);

/** Once it returns and the folder is synced, the decision is on disk. Throws ContractBroken; then nothing is committed, and the program ends:
 * somebody has to look before it may go on. */
async function store(value) {
  const decision = JSON.parse(value.toString("utf8"));
  message.check(decision);
  const eventId = decision[message.eventField];
  const file = fileOf(eventId);
  if (existsSync(file)) return; // stored before, and whole: it got its name last
  const draft = `${file}.${process.pid}`;
  const handle = await open(draft, "w");
  try {
    await handle.writeFile(value);
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    await link(draft, file); // fails where another process was quicker
    console.log(eventId, decision.decision);
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  } finally {
    await unlink(draft);
  }
}

/** A new name in a folder outlives a loss of power only once the folder itself is written. */
async function synced() {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const consumer = connection("kit-node").consumer({ groupId: given.group, retry: { retries: 5 } });
/** With --until: after so long without a decision there is none to be expected. */
const SILENCE_MS = 60_000;
let silence;
const ended = new Promise((resolve, reject) => {
  const heard = () => {
    clearTimeout(silence);
    if (given.until) silence = setTimeout(() => reject(new Error(
      `no decision of ${given.until}: the purchase may have been refused (into dead-letters), or the group ` +
      `${given.group} has read its decision into another folder`)), SILENCE_MS);
  };
  heard();
  consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, resolve);
  consumer.on(consumer.events.COMMIT_OFFSETS, () => {
    heard();
    if (given.until && existsSync(fileOf(given.until))) resolve();
  });
});
await consumer.connect();
try {
  // From the beginning: a new group wants what was decided before it, too.
  await consumer.subscribe({ topic: message.topic, fromBeginning: true });
  if (!given.until || !existsSync(fileOf(given.until))) {
    await consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch, heartbeat }) => {
        for (const record of batch.messages) {
          await store(record.value);
          await heartbeat();
        }
        await synced();
        const offset = String(BigInt(batch.lastOffset()) + 1n);
        await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset }]);
      },
    });
    await ended;
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  clearTimeout(silence);
  await consumer.disconnect();
}
