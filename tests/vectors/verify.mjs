// A second verifier of bundles and proofs, written against docs/audit-format.md alone and unlike the first one: it reads
// the whole zip, parses JSON with a reader of its own, writes bodies anew to see whether they are canonical, and computes
// roots by RFC 6962's recursion. For the vectors, not for large bundles. Node 20.15, nothing but its standard library.
//
//   node verify.mjs CASES.json    where CASES is [{file, keys: [vkey…], macKeys, since, event}, …]; prints a JSON list.

import { createHash, createHmac, createPublicKey, verify as verifySignature } from "node:crypto";
import { readFileSync } from "node:fs";
import { crc32, inflateRawSync } from "node:zlib";

import { verifyMldsa44 } from "./mldsa44.mjs";

const FORMAT = "provenance-audit-bundle/2";
const MEMBERS = ["events.jsonl", "details.jsonl", "omitted.bin", "range.proof", "checkpoint", "rotations", "vkeys", "MANIFEST.json"];
const STREAMED = new Set(MEMBERS.slice(0, 3));
const PEOPLE = new Set(["approval.approved", "approval.rejected", "approval.decision_recorded", "approval.payload_edited"]);
const FIELDS = ["action", "actor", "at", "changed", "context", "detail", "gap", "id", "kid", "object", "on_behalf_of", "outcome", "risk", "state", "v", "workspace"];
const CONTEXT = ["action_digest", "action_id", "agent_version", "environment", "request", "run_id", "step", "tool", "workflow_version"];
const COLUMNS = ["id", "workspace", "object.type", "object.id", "object.rev", "object.op", "changed", "action", "actor.id", "actor.type", "outcome", "risk", "context.run_id"];
const COUNTS = ["first", "end", "size", "events", "checkpoints", "details"];
const MANIFEST = [...COUNTS, "format", "origin", "workspace", "epoch", "created_at", "sealed_at", "filters", "omitted", "files"];
const LARGEST = 2 ** 28;

class Unusable extends Error {}

const utf8 = (bytes) => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Unusable("this is no UTF-8");
  }
};
const bytesOf = (text) => Buffer.from(text, "utf-8");
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
const base64 = (text, size = null) => {
  const value = Buffer.from(text, "base64");
  if (value.toString("base64") !== text || (size !== null && value.length !== size)) throw new Unusable("this is no base64 of what should stand here");
  return value;
};
const fits = (value, pattern) => typeof value === "string" && pattern.test(value);
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const hasKeys = (value, keys) => isObject(value) && Object.keys(value).sort().join() === [...keys].sort().join();
const isFlat = (filters) => isObject(filters) && Object.values(filters).flat().every((one) => typeof one === "string");
const isCount = (value) => Number.isInteger(value) && value >= 0;

// --- JSON: strict, integers only, no key twice ----------------------------------------------------------------------

function parseJson(text) {
  let at = 0;
  const fail = (why) => { throw new Error(`${why} at ${at}`); };
  const space = () => { while (" \t\r\n".includes(text[at]) && at < text.length) at++; };
  const string = () => {
    const found = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
    found.lastIndex = at;
    const match = found.exec(text) ?? fail("no string");
    at = found.lastIndex;
    const value = JSON.parse(match[0]);
    if (/[\ud800-\udfff]/u.test(value)) fail("a surrogate");
    return value;
  };
  const value = (depth) => {
    if (depth > 60) fail("too deep");
    space();
    if (text[at] === '"') return string();
    if (text[at] === "{" || text[at] === "[") return collection(depth);
    const found = /null|true|false|-?(?:0|[1-9][0-9]*)(?![0-9.eE])/y;
    found.lastIndex = at;
    const match = found.exec(text) ?? fail("no value");
    at = found.lastIndex;
    const result = JSON.parse(match[0]);
    if (typeof result === "number" && !Number.isSafeInteger(result)) fail("a large integer");
    return result;
  };
  const collection = (depth) => {
    const isObject = text[at++] === "{";
    const close = isObject ? "}" : "]";
    const result = isObject ? new Map() : [];
    for (space(); text[at] !== close; space()) {
      if (isObject ? result.size : result.length) {
        if (text[at++] !== ",") fail("no comma");
        space();
      }
      if (isObject) {
        const key = string();
        if (result.has(key)) fail("a key twice");
        space();
        if (text[at++] !== ":") fail("no colon");
        result.set(key, value(depth + 1));
      } else result.push(value(depth + 1));
    }
    at++;
    return isObject ? Object.fromEntries(result) : result;
  };
  const result = value(0);
  space();
  if (at !== text.length) fail("something after the value");
  return result;
}

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

// --- The zip ---------------------------------------------------------------------------------------------------------

function readZip(zip) {
  const end = zip.length - 22;
  if (end < 0 || zip.readUInt32LE(end) !== 0x06054b50) throw new Unusable("the zip does not end with its directory");
  const isLarge = end > 76 && zip.readUInt32LE(end - 20) === 0x07064b50;
  const count = zip.readUInt16LE(end + 10);
  let [at, next] = [zip.readUInt32LE(end + 16), 0];
  const [start, size, stop] = [at, zip.readUInt32LE(end + 12), isLarge ? end - 76 : end];
  const numbers = (...told) => told.map((value) => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64LE(BigInt(value)); return bytes; });
  // Whoever reads the large form must be told what the other one tells.
  const large = Buffer.concat([Buffer.from("504b06062c000000000000002d002d000000000000000000", "hex"), ...numbers(count, count, size, start), Buffer.from("504b060700000000", "hex"), ...numbers(stop), Buffer.from("01000000", "hex")]);
  if (isLarge && !zip.subarray(stop, end).equals(large)) throw new Unusable("the two ends differ");
  if (zip.readUInt32LE(end + 4) !== 0 || zip.readUInt16LE(end + 8) !== count || start + size !== stop || zip.readUInt16LE(end + 20)) throw new Unusable("the zip does not end as one does");
  const directory = at;
  const members = new Map();
  for (let number = 0; number < count; number++) {
    if (zip.readUInt32LE(at) !== 0x02014b50) throw new Unusable("the directory is broken");
    const [flags, method, kind] = [zip.readUInt16LE(at + 8), zip.readUInt16LE(at + 10), zip.readUInt16LE(at + 40) >> 12];
    const [packed, size] = [zip.readUInt32LE(at + 20), zip.readUInt32LE(at + 24)];
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => zip.readUInt16LE(at + offset));
    const name = utf8(zip.subarray(at + 46, at + 46 + nameLength));
    const local = zip.readUInt32LE(at + 42);
    if (members.has(name)) throw new Unusable(`${name} is there twice`);
    const ratio = name === "details.jsonl" ? 1100 : 100;
    if (size > Math.min(STREAMED.has(name) ? LARGEST : 1_114_112, ratio * (packed + 100))) throw new Unusable(`${name} is too large`);
    if (flags || (method !== 0 && method !== 8) || ![0, 8].includes(kind)) throw new Unusable(`${name} is encrypted, packed by a method that no bundle has, or no plain file`);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const about = zip.subarray(at + 46 + nameLength, at + 46 + nameLength + extra);
    const own = zip.subarray(local + 30 + nameLength, start);
    const sizes = own.length === 20 ? [12, 4].map((offset) => Number(own.readBigUInt64LE(offset))) : [18, 22].map((offset) => zip.readUInt32LE(local + offset));
    const hasSizes = own.length === 20 && own.readUInt32LE(0) === 0x00100001 && zip.readBigUInt64LE(local + 18) === 2n ** 64n - 1n;
    const isAlone = local === next && comment === 0 && (extra === 0 || (about.readUInt16LE(0) === 1 && about.readUInt16LE(2) === extra - 4)) && zip.readUInt32LE(local) === 0x04034b50
      && zip.subarray(local + 4, local + 18).equals(zip.subarray(at + 6, at + 20)) && zip.subarray(local + 30, local + 30 + nameLength).toString() === name
      && (own.length === 0 || hasSizes) && sizes[0] === packed && sizes[1] === size;
    if (!isAlone) throw new Unusable(`${name} is not alone where the directory says it is, or another is beside it`);
    next = start + packed;
    const data = zip.subarray(start, start + packed);
    const { buffer: unpacked, engine } = method === 8 ? inflateRawSync(data, { maxOutputLength: size + 1, info: true }) : { buffer: data };
    if (engine && engine.bytesWritten !== packed) throw new Unusable(`more than ${name} is packed in its place`);
    if (unpacked.length !== size) throw new Unusable(`${name} is not as large as it says`);
    if (crc32(unpacked) !== zip.readUInt32LE(at + 16)) throw new Unusable(`${name} was changed or damaged after it was made`);
    members.set(name, unpacked);
    at += 46 + nameLength + extra + comment;
  }
  if (next !== directory) throw new Unusable("something stands before the directory");
  const names = [...members.keys()].filter((name) => name !== "consistency.proof").sort();
  if (names.join() !== [...MEMBERS].sort().join()) throw new Unusable("these are not the members of a bundle");
  return members;
}

// --- Keys, notes, the tree -------------------------------------------------------------------------------------------

function parseKey(vkey) {
  const found = /^([!-*,-~]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? (() => { throw new Unusable("this is no vkey"); })();
  const material = base64(found[3]);
  const id = sha256(found[1], "\n", material).subarray(0, 4);
  if (material.length !== { 1: 33, 6: 1313 }[material[0]] || id.toString("hex") !== found[2]) throw new Unusable("this is no vkey");
  return { name: found[1], material, id };
}

function holds(key, message, signature) {
  const material = key.material.subarray(1);
  if (key.material[0] === 6) return verifyMldsa44(material, message, signature);
  const jwk = { kty: "OKP", crv: "Ed25519", x: material.toString("base64url") };
  return verifySignature(null, message, createPublicKey({ key: jwk, format: "jwk" }), signature);
}

// c2sp.org/tlog-cosignature: what an ML-DSA-44 key signs of a checkpoint. `time`: the eight bytes before the signature.
function cosigned(name, time, { origin, size, root }) {
  const vector = (text) => Buffer.concat([Buffer.from([bytesOf(text).length]), bytesOf(text)]);
  const numbers = Buffer.alloc(16);
  numbers.writeBigUInt64BE(BigInt(size), 8);
  return Buffer.concat([bytesOf("subtree/v1\n\0"), vector(name), time, vector(origin), numbers, root]);
}

function parseCheckpoint(text) {
  const found = /^([^\n]+)\n(0|[1-9][0-9]{0,14})\n([A-Za-z0-9+/]{43}=)\n$/.exec(text);
  if (!found) throw new Unusable("this is no checkpoint");
  return { origin: found[1], size: Number(found[2]), root: base64(found[3], 32) };
}

// Whose log an origin names, and in which epoch.
function whose(origin) {
  const found = /^[!-~]+\/(?:instance|([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))(?:\/e([2-9]|[1-9][0-9]{1,8}))?$/.exec(origin);
  if (!found) throw new Unusable("the origin names no log");
  return { workspace: found[1] ?? null, epoch: Number(found[2] ?? 1) };
}

function openNote(note, keys, report) {
  const split = note.lastIndexOf("\n\n");
  if (split < 0 || !note.endsWith("\n")) throw new Unusable("this is no signed note");
  const text = note.slice(0, split + 1);
  const lines = note.slice(split + 2, -1).split("\n");
  if (lines.length > 64) throw new Unusable("too many signatures");
  const checkpoint = parseCheckpoint(text);
  const missing = new Set(keys.filter((key) => key.name === checkpoint.origin).map((key) => key.material[0]));
  if (!missing.size) missing.add(1);
  for (const line of lines) {
    const found = /^\u2014 ([!-~]+) ([A-Za-z0-9+/=]+)$/.exec(line);
    if (!found) throw new Unusable("a signature line is malformed");
    const bytes = base64(found[2]);
    const [id, signature] = [bytes.subarray(0, 4), bytes.subarray(4)];
    const key = keys.find((one) => one.name === found[1] && one.id.equals(id));
    if (!key) continue;
    const result = key.material[0] === 1
      ? holds(key, bytesOf(text), signature)
      : holds(key, cosigned(key.name, signature.subarray(0, 8), checkpoint), signature.subarray(8));
    if (!result) report.add("checkpoint");
    else if (key.name === checkpoint.origin) missing.delete(key.material[0]);
  }
  if (keys.length && missing.size) report.add("checkpoint");
  report.signed = missing.size === 0;
  return checkpoint;
}

function followRotations(text, keys, report) {
  const lines = text.split("\n");
  if (lines.pop() !== "" || lines.length % 6 || lines.length > 6 * 64) throw new Unusable("these are no rotations");
  for (let at = 0; at < lines.length; at += 6) {
    const [kind, origin, old, next, until, signature] = lines.slice(at, at + 6);
    parseTime(until);
    base64(old);
    if (kind !== "provenance-rotation-v1") throw new Unusable("this is no rotation");
    const message = bytesOf(lines.slice(at, at + 5).map((line) => `${line}\n`).join(""));
    for (const key of keys.filter((one) => one.material.equals(base64(old)) && one.name.startsWith(`${origin}/`))) {
      const material = base64(next);
      if (material[0] !== key.material[0] || material.length !== key.material.length || holds(key, message, base64(signature)) !== true) report.add("rotation");
      else keys.push({ name: key.name, material, id: sha256(key.name, "\n", material).subarray(0, 4) });
    }
  }
}

const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right);
const splitAt = (count) => 2 ** Math.floor(Math.log2(count - 1));

// The root over the leaves from `first` up to `end`, by the recursion of RFC 6962; `known` gives the hash of a whole
// subtree where it is not made of leaves at hand.
function rootOf(first, end, known) {
  const given = known(first, end);
  if (given) return given;
  if (end - first <= 1) throw new Error("a leaf is unknown");
  const middle = first + splitAt(end - first);
  return nodeHash(rootOf(first, middle, known), rootOf(middle, end, known));
}

function cover(first, end) {
  const nodes = [];
  for (let at = first; at < end; ) {
    let width = 1;
    while (at % (width * 2) === 0 && at + width * 2 <= end) width *= 2;
    nodes.push([at, at + width]);
    at += width;
  }
  return nodes;
}

// Milliseconds since 1970. Of a day that no calendar has, Date would make the next one.
function parseTime(text) {
  const found = fits(text, /./) && /^(20\d\d-\d\d-\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/.exec(text);
  const day = found && new Date(`${found[1]}T00:00:00Z`);
  if (!day || Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) !== found[1]) throw new Unusable("this is no time");
  return Date.parse(text);
}

function parseRange(text) {
  const lines = text.split("\n");
  const found = /^range (0|[1-9]\d{0,14}) (0|[1-9]\d{0,14}) (0|[1-9]\d{0,14})$/.exec(lines[1] ?? "");
  if (lines[0] !== "provenance-range-proof@v1" || !found || lines.pop() !== "") throw new Unusable("this is no range proof");
  const [first, end, size] = found.slice(1).map(Number);
  const rest = lines.slice(2).map((line) => /^(left|right) (\S+)$/.exec(line) ?? (() => { throw new Unusable("this is no range proof"); })());
  const sides = { left: [], right: [] };
  for (const [, side, hash] of rest) {
    if (side === "left" && sides.right.length) throw new Unusable("this is no range proof");
    sides[side].push(base64(hash, 32));
  }
  if (!(first <= end && end <= size)) throw new Unusable("this is no range");
  const nodes = new Map();
  for (const [side, spans] of [["left", cover(0, first)], ["right", cover(end, size)]]) {
    if (spans.length !== sides[side].length) throw new Unusable("the range proof has not the hashes of its range");
    spans.forEach(([from, to], number) => nodes.set(`${from}-${to}`, sides[side][number]));
  }
  return { first, end, size, nodes };
}

const emptyRoot = sha256("");
const rootWith = (size, nodes, leaves) => size === 0 ? emptyRoot : rootOf(0, size, (from, to) => nodes.get(`${from}-${to}`) ?? (to - from === 1 ? leaves.get(from) : undefined));

// --- Events ----------------------------------------------------------------------------------------------------------

function isContext(name, value) {
  if (name === "data_tier") return isCount(value) && value < 1e15;
  if (name !== "continues") return CONTEXT.includes(name) && typeof value === "string";
  const isLog = hasKeys(value, ["kept", "origin", "root", "size"]) && typeof value.origin === "string" && fits(value.root, /^[0-9a-f]{64}$/) && isCount(value.size) && value.size < 1e15;
  return isCount(value.kept) && value.kept < 1e15 && (isLog || hasKeys(value, ["kept"]));
}

function readBody(text) {
  if (bytesOf(text).length > 8192) throw new Error("the body is too large");
  const body = parseJson(text);
  // An escaped U+0000: an odd number of backslashes before it.
  if (canonical(body) !== text || /(?<!\\)(?:\\\\)*\\u0000/.test(text)) throw new Error("the body is not canonical");
  const names = Object.keys(body).filter((name) => name !== "sanitized");
  if (names.join() !== FIELDS.join() || body.v !== 1 || ("sanitized" in body && body.sanitized !== true)) throw new Error("these are not the fields of version 1");
  const { actor, object } = body;
  if (!hasKeys(actor, ["id", "type", "via"]) || !hasKeys(object, ["id", "op", "rev", "type"]) || !Array.isArray(body.changed) || !isObject(body.context)) throw new Error("a field has another shape");
  const texts = [body.action, body.on_behalf_of, ...Object.values(actor), object.id, object.type, ...body.changed];
  const isHash = (value) => value === null || fits(value, /^[0-9a-f]{64}$/);
  const isNumber = (value) => isCount(value) && value < 1e15;
  const isFine = texts.every((value) => typeof value === "string") && isHash(body.detail) && isHash(body.state) && isNumber(body.gap)
    && ["user", "agent", "system", "integration"].includes(actor.type) && fits(body.kid, /^[a-z]+-[1-9][0-9]*$/)
    && ["success", "failure", "blocked", "pending", "unknown"].includes(body.outcome) && ["low", "medium", "high", "critical"].includes(body.risk)
    && ["read", "insert", "update", "delete"].includes(object.op) && (object.rev === null ? object.op === "read" : isNumber(object.rev))
    && Object.entries(body.context).every(([name, value]) => isContext(name, value))
    && fits(body.at, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/) && (body.workspace === null || fits(body.workspace, /^[0-9a-f-]{36}$/))
    && fits(body.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  if (!isFine || !(Math.abs(madeAt(body) - parseTime(body.at)) <= 300_000)) throw new Error("a field is not what it should be");
  return body;
}

const madeAt = ({ id }) => parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

function readLine(text, isOfInstance) {
  const line = parseJson(text);
  if (isOfInstance && hasKeys(line, ["idx", "leaf", "checkpoint"])) {
    parseCheckpoint(fits(line.checkpoint, /./) ? line.checkpoint : "");
    return { ...line, leafHash: sha256(Buffer.from([0]), "provenance-checkpoint-v1\n", line.checkpoint) };
  }
  const { columns = {}, ...rest } = line;
  if (!hasKeys(rest, ["idx", "kid", "mac", "leaf", "body"]) || !fits(line.mac, /^[0-9a-f]{64}$/) || typeof line.kid !== "string" || typeof line.body !== "string") throw new Error("these are not the fields of an event");
  if (!isObject(columns) || !Object.keys(columns).every((name) => COLUMNS.includes(name))) throw new Error("unknown columns");
  return { ...line, columns, leafHash: sha256(Buffer.from([0]), "provenance-audit-v1\n", line.body, Buffer.from(line.mac, "hex")) };
}

function judge(line, body, workspace, macKeys) {
  const kinds = [];
  if (body.kid !== line.kid || body.workspace !== workspace) kinds.push("projection");
  for (const [name, value] of Object.entries(line.columns)) {
    const said = name.split(".").reduce((at, part) => at?.[part] ?? null, body);
    if (canonical(said) !== canonical(value)) kinds.push("projection");
  }
  const signer = body.kid.slice(0, body.kid.lastIndexOf("-"));
  if ((body.actor.type === "user" || PEOPLE.has(body.action)) && !["web", "setup"].includes(signer)) kinds.push("wrong signer");
  if (macKeys) {
    const key = Object.hasOwn(macKeys.keys, line.kid) && macKeys.keys[line.kid];
    if (!key) kinds.push("unknown key");
    else if (createHmac("sha256", Buffer.from(key, "hex")).update(`provenance-audit-v1\n${line.body}`).digest("hex") !== line.mac) kinds.push("bad mac");
  }
  return kinds;
}

// What is wrong with a detail; `erased`: which are gone and at which index, and of which ones it tells so itself.
function judgeDetail(text, body, index, erased) {
  if ((text === undefined) !== (body.detail === null)) return "detail";
  if (text === undefined) return null;
  const told = parseJson(utf8(text));
  const form = "body_base64" in told ? "body_base64" : "body";
  if (!hasKeys(told, ["idx", "event_id", "salt", "media_type", "erased_at", form]) || told.event_id !== body.id || told.media_type !== "application/json") return "detail";
  if (told.salt === null && told[form] === null) {
    parseTime(told.erased_at);
    erased.gone.set(body.id, index);
    return null;
  }
  if (typeof told.salt !== "string" || typeof told[form] !== "string") throw new Error("a detail without salt or body");
  const bytes = form === "body" ? bytesOf(told.body) : base64(told.body_base64);
  if (!/^[0-9a-f]{64}$/.test(told.salt)) return "detail";
  const found = createHmac("sha256", Buffer.from(told.salt, "hex")).update(bytes).digest("hex");
  if (body.action === "audit.detail_erased") toldErased(bytes).forEach((id) => erased.told.set(id, index));
  return found === body.detail && told.erased_at === null ? null : "detail";
}

// Of which events the details went; nothing by words that no process uses.
function toldErased(bytes) {
  try {
    const { events } = parseJson(utf8(bytes));
    return Array.isArray(events) ? events : [];
  } catch {
    return [];
  }
}

// The lines of a member by their number, as bytes.
function numbered(bytes, first, report) {
  const lines = new Map();
  let last = first - 1;
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(10, at);
    if (end < 0 || end - at > 262_144) throw new Unusable("a line is too long, or does not end");
    const found = /^\{"idx":(0|[1-9]\d{0,14}),/.exec(bytes.toString("latin1", at, Math.min(end, at + 30)));
    const index = found ? Number(found[1]) : -1;
    if (index <= last) report.add("order", found ? index : null);
    else lines.set((last = index), bytes.subarray(at, end));
    at = end + 1;
  }
  return lines;
}

function parseManifest(text) {
  const manifest = parseJson(text);
  const { omitted } = manifest;
  const counts = [manifest.epoch, ...COUNTS.map((name) => manifest[name]), omitted.filtered, omitted.expired, omitted.missing, ...omitted.missing_at];
  if (manifest.format !== FORMAT || !hasKeys(manifest, MANIFEST) || !hasKeys(omitted, ["filtered", "expired", "missing", "missing_at"])) throw new Unusable("this is no manifest of the format");
  if (!Array.isArray(omitted.missing_at) || !counts.every(isCount) || !isFlat(manifest.filters)) throw new Unusable("a count is no count, or the filters are none");
  parseTime(manifest.sealed_at);
  parseTime(manifest.created_at);
  return manifest;
}

function checkMacKeys(macKeys, workspace) {
  if (macKeys && macKeys.workspace !== (workspace ?? "instance")) throw new Unusable("keys of another log");
}

function checkBundle(zip, one, report) {
  const members = readZip(zip);
  const text = (name) => utf8(members.get(name));
  [...members.keys()].filter((name) => !STREAMED.has(name)).forEach(text);
  const keys = one.keys.map(parseKey);
  text("vkeys").replace(/\n$/, "").split("\n").forEach(parseKey);
  followRotations(text("rotations"), keys, report);
  const checkpoint = openNote(text("checkpoint"), keys, report);
  const manifest = parseManifest(text("MANIFEST.json"));
  const { first, end, size, nodes } = parseRange(text("range.proof"));
  const { workspace, epoch } = whose(checkpoint.origin);
  checkMacKeys(one.macKeys, workspace);
  const { filters, omitted: left } = manifest;
  const isFiltered = Object.keys(filters).length > 0;
  const mayOmit = isFiltered || left.expired > 0;
  const hashes = members.get("omitted.bin");
  if (end - first > Math.floor(members.get("events.jsonl").length / 64) + Math.floor(hashes.length / 32) + 65_536) throw new Unusable("the range is of more leaves than the bundle can hold");
  const details = numbered(members.get("details.jsonl"), first, report);
  const lines = numbered(members.get("events.jsonl"), first, report);
  const leaves = new Map();
  const [events, erased] = [[], { gone: new Map(), told: new Map() }];
  const counted = { events: 0, checkpoints: 0, details: 0 };
  let [taken, leftOut, wasMissing, lastOut] = [0, 0, false, -1];
  for (let index = first; index < end; index++) {
    const detail = details.get(index);
    if (!lines.has(index)) {
      const hash = hashes.subarray(taken, taken + 32);
      taken += hash.length;
      lastOut = index;
      if (hash.length === 32) { leaves.set(index, hash); leftOut++; }
      if ((hash.length < 32 || !mayOmit) && !wasMissing) report.add("missing", index);
      wasMissing ||= hash.length < 32 || !mayOmit;
      if (detail) report.add("detail", index);
      continue;
    }
    try {
      const line = readLine(utf8(lines.get(index)), workspace === null);
      leaves.set(index, line.leafHash);
      if (line.leafHash.toString("hex").slice(0, 8) !== line.leaf) report.add("leaf", index);
      counted["checkpoint" in line ? "checkpoints" : "events"]++;
      if ("checkpoint" in line) continue;
      const body = readBody(line.body);
      judge(line, body, workspace, one.macKeys).forEach((kind) => report.add(kind, index));
      events.push([index, body]);
      counted.details += detail && body.detail !== null ? 1 : 0;
      const kind = judgeDetail(detail, body, index, erased);
      if (kind) report.add(kind, index);
    } catch {
      report.add("malformed", index);
    }
  }
  const after = Math.min(...[...lines.keys(), ...details.keys()].filter((index) => index >= end), taken < hashes.length ? end : Infinity);
  if (after < Infinity) report.add("range", after);
  checkHistories(events, report, first === 0 && leftOut === 0);
  if (left.filtered + left.expired + left.missing !== leftOut || (left.filtered && !isFiltered)) report.add("missing");
  if (left.missing) report.add("missing", left.missing_at.length ? Math.min(...left.missing_at) : null);
  const made = parseTime(manifest.created_at);
  const oldest = Math.max(0, Math.min(made, Date.now()) - 7 * 365 * 86_400_000);
  const young = events.find(([, body]) => madeAt(body) > oldest)?.[0] ?? Infinity;
  if (left.expired && !isFiltered && lastOut > young) report.add("missing", lastOut);
  if (events.some(([, body]) => madeAt(body) > made + 600_000)) report.add("manifest");
  report.doubtful ||= left.expired > 0 || [...erased.gone].some(([id, index]) => !(erased.told.get(id) >= index));
  let root = null;
  try {
    root = rootWith(size, nodes, leaves);
  } catch { /* told below */ }
  if (!root?.equals(checkpoint.root) || size !== checkpoint.size) report.add("root");
  const files = Object.fromEntries([...members].filter(([name]) => name !== "MANIFEST.json").map(([name, bytes]) => [name, sha256(bytes).toString("hex")]));
  const found = { origin: checkpoint.origin, workspace, epoch, first, end, size: checkpoint.size, files, ...counted };
  for (const [name, value] of Object.entries(found)) if (canonical(manifest[name]) !== canonical(value)) report.add("manifest");
  checkOlder(one.since, checkpoint, members, { first, end, nodes, leaves }, report);
}

function checkHistories(events, report, isWhole) {
  const [seen, histories] = [new Set(), new Map()];
  for (const [index, { id, object }] of events) {
    if (seen.has(id)) report.add("duplicate", index);
    seen.add(id);
    const name = canonical([object.type, object.id]);
    const [last, lastOp] = histories.get(name) ?? [0, ""];
    if (object.op === "read" || (object.rev === last && object.op === lastOp)) continue;
    histories.set(name, [object.rev, object.op]);
    if (object.rev <= last || (object.op === "insert") !== (object.rev === 1) || lastOp === "delete") report.add("revision", index);
    else if (isWhole && object.rev !== last + 1) report.add("revision", index);
  }
}

function checkOlder(note, checkpoint, members, { first, end, nodes, leaves }, report) {
  const old = note && parseCheckpoint(note.slice(0, note.lastIndexOf("\n\n") + 1));
  const upTo = (size, spans) => new Map([...spans].filter(([span]) => Number(span.split("-")[1]) <= size));
  let root = null;
  if (old && first <= old.size && old.size <= end) {
    try { root = rootWith(old.size, upTo(first, nodes), leaves); } catch { /* a leaf is missing, which was told */ }
  }
  if (members.has("consistency.proof")) {
    const proof = parseRange(utf8(members.get("consistency.proof")));
    if (proof.end !== proof.first || proof.size !== checkpoint.size || !rootWith(proof.size, proof.nodes, new Map()).equals(checkpoint.root)) report.add("consistency");
    if (old && old.size === proof.first) root ??= rootWith(proof.first, upTo(proof.first, proof.nodes), new Map());
  }
  if (!old) return;
  if (old.origin !== checkpoint.origin || old.size > checkpoint.size || (root && !root.equals(old.root))) report.add("consistency");
  else if (!root) report.signed = false;
}

function checkProof(text, one, report) {
  const found = /^c2sp\.org\/tlog-proof@v1\n(?:extra (\S+)\n)?index (0|[1-9]\d{0,14})\n((?:\S+\n)*)\n([\s\S]*)$/.exec(text);
  if (!found) throw new Unusable("this is no proof");
  const checkpoint = openNote(found[4], one.keys.map(parseKey), report);
  const index = Number(found[2]);
  const { workspace } = whose(checkpoint.origin);
  checkMacKeys(one.macKeys, workspace);
  const told = (one.event ?? utf8(base64(found[1] ?? ""))).replace(/\n+$/, "");
  const line = readLine(told, false);
  judge(line, readBody(line.body), workspace, one.macKeys).forEach((kind) => report.add(kind, index));
  if (line.leafHash.toString("hex").slice(0, 8) !== line.leaf) report.add("leaf", index);
  const proof = found[3].split("\n").slice(0, -1).map((value) => base64(value, 32));
  // PATH of RFC 6962, from the root down: the last hash is that of the half in which the leaf is not.
  const climb = (at, count) => {
    if (count === 1) return line.leafHash;
    const sibling = proof.pop() ?? (() => { throw new Error("too short"); })();
    const middle = splitAt(count);
    return at < middle ? nodeHash(climb(at, middle), sibling) : nodeHash(sibling, climb(at - middle, count - middle));
  };
  let root = null;
  try { root = index < checkpoint.size ? climb(index, checkpoint.size) : null; } catch { /* told below */ }
  if (!root?.equals(checkpoint.root) || proof.length || !told.startsWith(`{"idx":${index},`)) report.add("inclusion", index);
}

function report() {
  const found = { signed: false, kinds: new Set(), first: null };
  found.add = (kind, index = null) => {
    found.kinds.add(kind);
    if (index !== null && (found.first === null || index < found.first)) found.first = index;
  };
  return found;
}

function verdictOf(one) {
  const found = report();
  try {
    const file = readFileSync(one.file);
    if (file.length > 3 && file.readUInt32LE(0) === 0x04034b50) checkBundle(file, one, found);
    else checkProof(utf8(file), one, found);
  } catch (problem) {
    return { verdict: "unusable", first_bad_index: null, kinds: [], why: String(problem.message) };
  }
  const verdict = found.kinds.size ? "failed" : found.signed && !found.doubtful ? "ok" : "incomplete";
  return { verdict, first_bad_index: found.first, kinds: [...found.kinds].sort() };
}

console.log(JSON.stringify(JSON.parse(readFileSync(process.argv[2], "utf-8")).map(verdictOf)));
