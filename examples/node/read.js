// node read.js URL NAMESPACE FEATURES_PROTO SERVICE < rows.jsonl      prints one JSON object a row
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";
import { FeatureReader } from "./reader.js";

const [url, namespace, proto, service] = process.argv.slice(2);
const rows = readFileSync(0, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
const plain = (_, value) => (typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value)) ? String(value) : value);
const redis = new Redis(url);
try {
  const reader = new FeatureReader(redis, namespace, readFileSync(proto, "utf8"));
  for (const found of await reader.read(service, rows)) console.log(JSON.stringify(found, plain));
} finally {
  redis.disconnect();
}
