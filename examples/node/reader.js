// Reads a feature service as docs/wire-format.md says ("Reading, step by step"), with features.proto for the messages.
import { createHash } from "node:crypto";
import Long from "long";
import protobuf from "protobufjs";

protobuf.util.Long = Long; // integers of 64 bits, whole; they become BigInt below
protobuf.configure();

const text = {
  date: (value) => (value instanceof Date ? value.toISOString().slice(0, 10) : value),
  timestamptz: (value) => value.toISOString().replace(".000Z", "Z").replace(/(\.\d{3})Z/, "$1000Z"),
  uuid: (value) => value.toLowerCase(),
};
const escaped = (value, type) => (text[type] ?? String)(value).replace(/[|:\\]/g, "\\$&");
const microseconds = (time) => BigInt(time.getTime()) * 1000n;

function value(raw, type) {
  if (/\[\d*\]$/.test(type)) return raw.values.map((each) => value(each, ""));
  if (Long.isLong(raw)) raw = BigInt(raw.toString());
  if (type.endsWith("hugeint")) return BigInt(raw);
  if (type === "date") return new Date(raw * 86_400_000).toISOString().slice(0, 10);
  return raw; // timestamptz: microseconds since the epoch; decimals are texts
}

export class FeatureReader {
  constructor(redis, namespace, proto) {
    Object.assign(this, { redis, namespace, schema: protobuf.parse(proto, { keepCase: true }).root });
  }

  async learn() {
    const document = await this.redis.getBuffer(`${this.namespace}:#registry`);
    if (!document) throw new Error(`nothing was ever published in ${this.namespace}`);
    this.registry = JSON.parse(document);
    if (this.registry.format !== 1) throw new Error(`format ${this.registry.format} is not known here`);
    this.revision = createHash("sha256").update(document).digest("hex").slice(0, 16);
  }

  find(wanted) {
    const named = Object.values(this.registry.services).filter((s) => [s.name, `${s.name}@${s.version}`].includes(wanted));
    if (!named.length) throw new Error(`there is no feature service '${wanted}'`);
    return named.reduce((one, other) => (other.version > one.version ? other : one));
  }

  // [{ feature: { value, status } }] of each row; `now`: a Date, default the marker's clock, else the real time.
  async read(wanted, rows, now, again = true) {
    if (!this.registry) await this.learn();
    const service = this.find(wanted);
    const items = service.views.map((item) => {
      const view = this.registry.views[item.view];
      const pascal = view.name.split("_").map((part) => part[0].toUpperCase() + part.slice(1)).join("");
      const message = this.schema.lookupType(`feature_warehouse.${pascal}V${view.version}`);
      return { ...item, view, message, field: `${view.name}:${view.version}` };
    });
    const keyOf = (row, { view, keys }) => {
      const parts = this.registry.entities[view.entity].map(({ name, type }) => [row[keys[name] ?? name], type]);
      if (parts.some(([part]) => part === undefined)) throw new Error(`a row lacks a key of ${view.name}`);
      if (parts.some(([part]) => part === null)) return null; // a NULL key matches nothing
      return `${this.namespace}:${view.entity}:${parts.map(([part, type]) => escaped(part, type)).join("|")}`;
    };
    const asked = new Map(); // key -> fields, each once
    for (const row of rows)
      for (const item of items) {
        const key = keyOf(row, item);
        if (key !== null) asked.set(key, (asked.get(key) ?? new Set()).add(item.field));
      }
    const pipeline = this.redis.pipeline().hmgetBuffer(`${this.namespace}:#markers`, ...items.map((item) => item.field), "#registry");
    for (const [key, fields] of asked) pipeline.hmgetBuffer(key, ...fields);
    const [markers, ...replies] = (await pipeline.exec()).map(([error, reply]) => { if (error) throw error; return reply; });
    if (again && String(markers.pop()) !== this.revision) return this.learn().then(() => this.read(wanted, rows, now, false));
    const stored = new Map([...asked].map(([key, fields], at) => [key, new Map([...fields].map((field, i) => [field, replies[at][i]]))]));
    items.forEach((item, at) => {
      const marker = markers[at] && JSON.parse(markers[at]);
      if (!marker?.as_of) throw new Error(`${item.field} was never completely synced`);
      item.number = Object.fromEntries(item.view.features.map((feature) => [feature.name, feature]));
      if (item.features.some((name) => item.number[name].number > marker.complete_through)) throw new Error(`${item.field} is not yet synced`);
      const synced = new Date(marker.as_of);
      item.now = microseconds(now ?? (marker.clock === "fixed" ? synced : new Date()));
      const every = item.view.expected_every_seconds;
      item.stale = every !== null && item.now - microseconds(synced) > BigInt(every) * 1_500_000n;
    });
    return rows.map((row) => Object.fromEntries(items.flatMap((item) => {
      const bytes = stored.get(keyOf(row, item))?.get(item.field);
      const message = bytes && item.message.decode(bytes);
      const ttl = item.view.ttl_seconds;
      const expired = message && ttl !== null && item.now - BigInt(message.event_time.toString()) > BigInt(ttl) * 1_000_000n;
      return item.features.map((name) => {
        const there = message && !expired && Object.hasOwn(message, name) && message[name] !== null;
        const status = !message ? "missing" : expired ? "expired" : !there ? "null" : item.stale ? "stale" : "present";
        return [item.prefix + name, { value: there ? value(message[name], item.number[name].type) : null, status }];
      });
    })));
  }
}
