// A second verifier of bundles and proofs, written against docs/audit-format.md alone and unlike the first one: it reads
// the whole zip, parses JSON with a reader of its own, writes bodies anew to see whether they are canonical, and computes
// roots by RFC 6962's recursion. For the vectors, not for large bundles. Node 20.15, nothing but its standard library.
//
//   node verify.mjs CASES.json    where CASES is [{file, keys: [vkey…], macKeys, since, event}, …]; prints a JSON list.

import { createHash, createHmac, createPublicKey, verify as verifySignature } from "node:crypto";
import { readFileSync } from "node:fs";
import { crc32, inflateRawSync } from "node:zlib";

const FORMAT = "provenance-audit-bundle/2";
const MEMBERS = ["events.jsonl", "details.jsonl", "omitted.bin", "range.proof", "checkpoint", "rotations", "vkeys", "MANIFEST.json"];
const STREAMED = new Set(MEMBERS.slice(0, 3));
const PEOPLE = new Set(["approval.approved", "approval.rejected", "approval.decision_recorded", "approval.payload_edited"]);
const FIELDS = ["action", "actor", "at", "changed", "context", "detail", "gap", "id", "kid", "object", "on_behalf_of", "outcome", "risk", "state", "v", "workspace"];

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
const base64 = (text) => {
  const value = Buffer.from(text, "base64");
  if (value.toString("base64") !== text) throw new Unusable("this is no base64");
  return value;
};

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
  const count = zip.readUInt16LE(end + 10);
  let at = zip.readUInt32LE(end + 16);
  const members = new Map();
  for (let number = 0; number < count; number++) {
    if (zip.readUInt32LE(at) !== 0x02014b50) throw new Unusable("the directory is broken");
    const [flags, method] = [zip.readUInt16LE(at + 8), zip.readUInt16LE(at + 10)];
    const [packed, size] = [zip.readUInt32LE(at + 20), zip.readUInt32LE(at + 24)];
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => zip.readUInt16LE(at + offset));
    const name = utf8(zip.subarray(at + 46, at + 46 + nameLength));
    const local = zip.readUInt32LE(at + 42);
    if (members.has(name)) throw new Unusable(`${name} is there twice`);
    if (flags & 1 || size > Math.min(STREAMED.has(name) ? 2 ** 36 : 1_114_112, 100 * (packed + 100))) throw new Unusable(`${name} is too large or encrypted`);
    if (method !== 0 && method !== 8) throw new Unusable(`${name} is packed by a method that no bundle has`);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const data = zip.subarray(start, start + packed);
    const unpacked = method === 8 ? inflateRawSync(data, { maxOutputLength: size + 1 }) : data;
    if (unpacked.length !== size) throw new Unusable(`${name} is not as large as it says`);
    if (crc32(unpacked) !== zip.readUInt32LE(at + 16)) throw new Unusable(`${name} was changed or damaged after it was made`);
    members.set(name, unpacked);
    at += 46 + nameLength + extra + comment;
  }
  const names = [...members.keys()].filter((name) => name !== "consistency.proof").sort();
  if (names.join() !== [...MEMBERS].sort().join()) throw new Unusable("these are not the members of a bundle");
  return members;
}

// --- Keys, notes, the tree -------------------------------------------------------------------------------------------

function parseKey(vkey) {
  const found = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? (() => { throw new Unusable("this is no vkey"); })();
  const material = base64(found[3]);
  const id = sha256(found[1], "\n", material).subarray(0, 4);
  if (material.length !== { 1: 33, 6: 1313 }[material[0]] || id.toString("hex") !== found[2]) throw new Unusable("this is no vkey");
  return { name: found[1], material, id };
}

// null: Node 20 has no ML-DSA.
function holds(key, message, signature) {
  if (key.material[0] !== 1) return null;
  const jwk = { kty: "OKP", crv: "Ed25519", x: key.material.subarray(1).toString("base64url") };
  return verifySignature(null, message, createPublicKey({ key: jwk, format: "jwk" }), signature);
}

function parseCheckpoint(text) {
  const found = /^([^\n]+)\n(0|[1-9][0-9]{0,14})\n([A-Za-z0-9+/]{43}=)\n$/.exec(text);
  if (!found) throw new Unusable("this is no checkpoint");
  return { origin: found[1], size: Number(found[2]), root: base64(found[3]) };
}

function openNote(note, keys, report) {
  const split = note.lastIndexOf("\n\n");
  if (split < 0 || !note.endsWith("\n")) throw new Unusable("this is no signed note");
  const text = note.slice(0, split + 1);
  const lines = note.slice(split + 2, -1).split("\n");
  if (lines.length > 64) throw new Unusable("too many signatures");
  const checkpoint = parseCheckpoint(text);
  let unchecked = false;
  for (const line of lines) {
    const found = /^\u2014 (\S+) ([A-Za-z0-9+/=]+)$/.exec(line);
    if (!found) throw new Unusable("a signature line is malformed");
    const signature = base64(found[2]);
    const key = keys.find((one) => one.name === found[1] && one.id.equals(signature.subarray(0, 4)));
    if (!key) continue;
    const result = holds(key, bytesOf(text), signature.subarray(4));
    unchecked ||= result === null;
    if (result === false) report.add("checkpoint");
    if (result && key.name === checkpoint.origin) report.signed = true;
  }
  if (keys.length && !report.signed && !unchecked) report.add("checkpoint");
  return checkpoint;
}

function followRotations(text, keys, report) {
  const lines = text.split("\n").slice(0, -1);
  if (lines.length % 6) throw new Unusable("these are no rotations");
  for (let at = 0; at < lines.length; at += 6) {
    const [kind, origin, old, next, , signature] = lines.slice(at, at + 6);
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

function parseTime(text) {
  const time = /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?(?:Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(time)) throw new Error("this is no time");
  return time;
}

function parseRange(text) {
  const lines = text.split("\n");
  const found = /^range (\d{1,15}) (\d{1,15}) (\d{1,15})$/.exec(lines[1] ?? "");
  if (lines[0] !== "provenance-range-proof@v1" || !found || lines.pop() !== "") throw new Unusable("this is no range proof");
  const [first, end, size] = found.slice(1).map(Number);
  const rest = lines.slice(2).map((line) => /^(left|right) (\S+)$/.exec(line) ?? (() => { throw new Unusable("this is no range proof"); })());
  const sides = { left: [], right: [] };
  for (const [, side, hash] of rest) sides[side].push(base64(hash));
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

function readBody(text) {
  if (bytesOf(text).length > 8192) throw new Error("the body is too large");
  const body = parseJson(text);
  if (canonical(body) !== text || text.includes("\\u0000")) throw new Error("the body is not canonical");
  const names = Object.keys(body).filter((name) => name !== "sanitized");
  if (names.join() !== FIELDS.join() || body.v !== 1 || ("sanitized" in body && body.sanitized !== true)) throw new Error("these are not the fields of version 1");
  const shape = (value, ...keys) => Object.keys(value).join() === keys.join();
  const texts = [body.action, body.kid, body.on_behalf_of, body.outcome, body.risk, ...Object.values(body.actor), body.object.id, body.object.type, ...body.changed];
  const isHash = (value) => value === null || /^[0-9a-f]{64}$/.test(value);
  const isCount = (value) => Number.isInteger(value) && value >= 0 && value < 1e15;
  const isFine = shape(body.actor, "id", "type", "via") && shape(body.object, "id", "op", "rev", "type")
    && texts.every((value) => typeof value === "string") && isHash(body.detail) && isHash(body.state) && isCount(body.gap)
    && ["read", "insert", "update", "delete"].includes(body.object.op) && (body.object.rev === null ? body.object.op === "read" : isCount(body.object.rev))
    && Object.entries(body.context).every(([key, value]) => /^[a-z_]+$/.test(key) && (typeof value === "string" || isCount(value)))
    && /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(body.at) && (body.workspace === null || /^[0-9a-f-]{36}$/.test(body.workspace))
    && /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(body.id);
  const made = isFine && parseInt(body.id.slice(0, 8) + body.id.slice(9, 13), 16);
  if (!isFine || !(Math.abs(made - Date.parse(body.at)) <= 300_000)) throw new Error("a field is not what it should be");
  return body;
}

function readLine(text) {
  const line = parseJson(text);
  if ("checkpoint" in line) {
    parseCheckpoint(line.checkpoint);
    return { ...line, leafHash: sha256(Buffer.from([0]), "provenance-checkpoint-v1\n", line.checkpoint) };
  }
  if (!/^[0-9a-f]{64}$/.test(line.mac)) throw new Error("no MAC");
  return { ...line, leafHash: sha256(Buffer.from([0]), "provenance-audit-v1\n", line.body, Buffer.from(line.mac, "hex")) };
}

function judge(line, body, workspace, macKeys) {
  const kinds = [];
  if (body.kid !== line.kid) kinds.push("projection");
  if (body.workspace !== workspace) kinds.push("projection");
  for (const [name, value] of Object.entries(line.columns ?? {})) {
    const said = name.split(".").reduce((at, part) => at?.[part] ?? null, body);
    if (canonical(said) !== canonical(value)) kinds.push("projection");
  }
  const signer = String(line.kid).slice(0, String(line.kid).lastIndexOf("-"));
  if ((body.actor.type === "user" || PEOPLE.has(body.action)) && !["web", "setup"].includes(signer)) kinds.push("wrong signer");
  if (macKeys) {
    const key = macKeys.keys[line.kid];
    if (!key) kinds.push("unknown key");
    else if (createHmac("sha256", Buffer.from(key, "hex")).update(`provenance-audit-v1\n${line.body}`).digest("hex") !== line.mac) kinds.push("bad mac");
  }
  return kinds;
}

function numbered(bytes, report) {
  const texts = utf8(bytes).split("\n");
  if (texts.pop() !== "") throw new Unusable("a member ends within a line");
  const lines = [];
  let last = -1;
  for (const text of texts) {
    if (text.length > 262_144) throw new Unusable("a line is too long");
    const found = /^\{"idx":(0|[1-9]\d{0,14}),/.exec(text);
    const index = found ? Number(found[1]) : -1;
    if (index <= last) report.add("order", index);
    else lines.push([(last = index), text]);
  }
  return lines;
}

function checkBundle(zip, one, report) {
  const members = readZip(zip);
  const text = (name) => utf8(members.get(name));
  const keys = one.keys.map(parseKey);
  followRotations(text("rotations"), keys, report);
  const checkpoint = openNote(text("checkpoint"), keys, report);
  const manifest = parseJson(text("MANIFEST.json"));
  const { first, end, size, nodes } = parseRange(text("range.proof"));
  const { workspace, filters, omitted: left } = manifest;
  if (manifest.format !== FORMAT || (one.macKeys && one.macKeys.workspace !== (workspace ?? "instance"))) throw new Unusable("another format or workspace");
  if (filters === null || typeof filters !== "object" || Array.isArray(filters) || !Number.isInteger(left.expired) || left.expired < 0) throw new Unusable("filters or expired is not one");
  const oldest = parseTime(manifest.created_at) - 7 * 365 * 86_400_000;
  const mayOmit = Object.keys(filters).length > 0 || left.expired > 0;
  const details = new Map(numbered(members.get("details.jsonl"), report));
  const lines = new Map(numbered(members.get("events.jsonl"), report));
  const hashes = members.get("omitted.bin");
  if (end - first > Math.floor(members.get("events.jsonl").length / 64) + Math.floor(hashes.length / 32) + 65_536) throw new Unusable("the range is of more leaves than the bundle can hold");
  const leaves = new Map();
  const [events, erased] = [[], []];
  let [taken, leftOut, wasMissing] = [0, 0, false];
  for (let index = first; index < end; index++) {
    if (!lines.has(index)) {
      const hash = hashes.subarray(taken, taken + 32);
      taken += 32;
      if (hash.length === 32) { leaves.set(index, hash); leftOut++; }
      if ((hash.length < 32 || !mayOmit) && !wasMissing) report.add("missing", index);
      wasMissing ||= hash.length < 32 || !mayOmit;
      continue;
    }
    try {
      const line = readLine(lines.get(index));
      leaves.set(index, line.leafHash);
      if (line.leafHash.toString("hex").slice(0, 8) !== line.leaf) report.add("leaf", index);
      if ("checkpoint" in line) continue;
      const body = readBody(line.body);
      judge(line, body, workspace, one.macKeys).forEach((kind) => report.add(kind, index));
      events.push([index, body]);
      const detail = details.get(index);
      details.delete(index);
      if (detail === undefined) {
        if (body.detail !== null) report.add("detail", index);
        continue;
      }
      const told = parseJson(detail);
      const form = "body_base64" in told ? "body_base64" : "body";
      const isKnown = Object.keys(told).sort().join() === [form, "erased_at", "event_id", "idx", "media_type", "salt"].sort().join();
      if (body.detail === null || !isKnown || told.event_id !== body.id || told.media_type !== "application/json") {
        report.add("detail", index);
        continue;
      }
      if (told.salt === null && told[form] === null) {
        parseTime(told.erased_at);
        erased.push(index);
        continue;
      }
      const bytes = form === "body" ? bytesOf(told.body) : base64(told.body_base64);
      const found = createHmac("sha256", Buffer.from(told.salt, "hex")).update(bytes).digest("hex");
      if (found !== body.detail || told.erased_at !== null) report.add("detail", index);
    } catch (problem) {
      if (problem instanceof Unusable && /UTF-8/.test(problem.message)) throw problem;
      report.add("malformed", index);
    }
  }
  for (const index of [...details.keys()]) report.add(index < end ? "detail" : "range", index);
  const after = [...lines.keys()].find((index) => index >= end);
  if (after !== undefined || taken < hashes.length) report.add("range", after ?? end);
  if (mayOmit) left.missing_at.forEach((index) => report.add("missing", index));
  checkHistories(events, report, first === 0 && leftOut === 0);
  const isFiltered = Object.keys(filters).length > 0;
  if (left.expired > leftOut || (!isFiltered && left.expired !== leftOut)) report.add("missing");
  const young = events.find(([, body]) => parseInt(body.id.slice(0, 8) + body.id.slice(9, 13), 16) > oldest)?.[0] ?? Infinity;
  const lastOut = Math.max(-1, ...[...leaves.keys()].filter((index) => !lines.has(index)));
  if (left.expired && !isFiltered && lastOut > young) report.add("missing", lastOut);
  const lastTold = Math.max(-1, ...events.filter(([, { action }]) => ["audit.detail_erased", "member.erased"].includes(action)).map(([index]) => index));
  report.doubtful ||= left.expired > 0 || erased.some((index) => index >= lastTold);
  let root = null;
  try {
    root = rootWith(size, nodes, leaves);
  } catch { /* told below */ }
  if (!root?.equals(checkpoint.root) || size !== checkpoint.size) report.add("root");
  if (one.since) checkOlder(one.since, checkpoint, members, { first, end, nodes, leaves }, report);
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
    if (object.rev <= last || (object.op === "insert" && object.rev !== 1) || lastOp === "delete") report.add("revision", index);
    else if (isWhole && object.rev !== last + 1) report.add("revision", index);
  }
}

function checkOlder(note, checkpoint, members, { first, end, nodes, leaves }, report) {
  const old = parseCheckpoint(note.slice(0, note.lastIndexOf("\n\n") + 1));
  let root = null;
  if (first <= old.size && old.size <= end) {
    const left = new Map([...nodes].filter(([span]) => Number(span.split("-")[1]) <= first));
    try { root = rootWith(old.size, left, leaves); } catch { /* a leaf is missing, which was told */ }
  } else if (members.has("consistency.proof")) {
    const proof = parseRange(utf8(members.get("consistency.proof")));
    const left = new Map([...proof.nodes].filter(([span]) => Number(span.split("-")[1]) <= proof.first));
    root = rootWith(proof.first, left, new Map());
    if (proof.first !== old.size || proof.end !== proof.first || proof.size !== checkpoint.size || !rootWith(proof.size, proof.nodes, new Map()).equals(checkpoint.root)) report.add("consistency");
  }
  if (old.origin !== checkpoint.origin || old.size > checkpoint.size || (root && !root.equals(old.root))) report.add("consistency");
  else if (!root) report.signed = false;
}

function checkProof(text, one, report) {
  const found = /^c2sp\.org\/tlog-proof@v1\n(?:extra (\S+)\n)?index (0|[1-9]\d*)\n((?:\S+\n)*)\n([\s\S]*)$/.exec(text);
  if (!found) throw new Unusable("this is no proof");
  const checkpoint = openNote(found[4], one.keys.map(parseKey), report);
  const index = Number(found[2]);
  const line = readLine((one.event ?? utf8(base64(found[1] ?? ""))).replace(/\n+$/, ""));
  const body = readBody(line.body);
  judge(line, body, body.workspace, one.macKeys).forEach((kind) => report.add(kind, index));
  const proof = found[3].split("\n").filter(Boolean).map(base64);
  // PATH of RFC 6962, from the root down: the last hash is that of the half in which the leaf is not.
  const climb = (at, count) => {
    if (count === 1) return line.leafHash;
    const sibling = proof.pop() ?? (() => { throw new Error("too short"); })();
    const middle = splitAt(count);
    return at < middle ? nodeHash(climb(at, middle), sibling) : nodeHash(sibling, climb(at - middle, count - middle));
  };
  let root = null;
  try { root = index < checkpoint.size ? climb(index, checkpoint.size) : null; } catch { /* told below */ }
  if (!root?.equals(checkpoint.root) || proof.length) report.add("inclusion", index);
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
