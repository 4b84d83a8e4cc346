// The contract as a program reads it: topics, the key, and what a value looks like, all from the AsyncAPI document.
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import kafkajs from "kafkajs";
import lz4 from "lz4-napi";

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs;
// The services' batches are compressed by LZ4, which kafkajs leaves to others.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (buffer) => lz4.decompressFrame(buffer),
});

// In a service of your own: a copy of the document, or where you fetch it to.
const DOCUMENT = process.env.FLIT_CONTRACT || new URL("../../docs/reference/asyncapi.json", import.meta.url);
const SERVERS = process.env.KAFKA__BOOTSTRAP_SERVERS || "127.0.0.1:19092";
// Of kafkajs' default partitioner, which is that of Kafka's Java client.
const PARTITIONER = "murmur2";
const IN_THE_PAYLOAD = "$message.payload#/";

/** A value that is not what the document says. */
export class ContractBroken extends Error {}

/** One kind of message by its name under components/messages, such as "transaction", and the topic that carries it. */
export function messageNamed(name) {
  const document = JSON.parse(readFileSync(DOCUMENT, "utf8"));
  const message = document.components.messages[name];
  const channel = Object.values(document.channels).find((one) => name in one.messages);
  const { location, partitioner } = message["x-key"];
  if (partitioner !== PARTITIONER)
    throw new ContractBroken(`${channel.address} is partitioned by ${partitioner}, this program does ${PARTITIONER}`);
  // Not strict: the document says more than a schema's own keywords. Formats such as date-time are hints in it.
  // Numbers are, though: JSON.parse makes Infinity of 1e999, which would go out as null.
  const ajv = new Ajv({ strict: false, strictNumbers: true, validateFormats: false });
  const valid = ajv.compile({ ...message.payload, components: document.components });
  return {
    topic: channel.address,
    keyField: location.slice(IN_THE_PAYLOAD.length),
    eventField: message.correlationId.location.slice(IN_THE_PAYLOAD.length),
    /** Throws ContractBroken, with the first thing that is wrong. */
    check(value) {
      if (!valid(value)) throw new ContractBroken(ajv.errorsText(valid.errors, { dataVar: "$" }));
    },
  };
}

export function connection(clientId) {
  return new Kafka({ clientId, brokers: SERVERS.split(","), logLevel: logLevel.ERROR });
}
