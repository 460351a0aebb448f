// Verification of ML-DSA-44 (FIPS 204), because Node 20 has none. Signatures are public: nothing here needs to run in
// constant time. Node's standard library alone.

import { createHash } from "node:crypto";

const [Q, N, K, L, D, TAU, OMEGA, GAMMA1, GAMMA2] = [8380417, 256, 4, 4, 13, 39, 80, 1 << 17, (8380417 - 1) / 88];
const BETA = TAU * 2;
const shake = (kind, length, ...parts) => parts.reduce((hash, part) => hash.update(part), createHash(kind, { outputLength: length })).digest();
const times = (a, b) => Number((BigInt(a) * BigInt(b)) % BigInt(Q));
const mod = (value) => ((value % Q) + Q) % Q;

const reversed = (index) => parseInt(index.toString(2).padStart(8, "0").split("").reverse().join(""), 2);
const power = (exponent) => { let value = 1; for (let step = 0; step < exponent; step++) value = times(value, 1753); return value; };
const ZETAS = Array.from({ length: N }, (_, index) => power(reversed(index)));

function ntt(input) { // algorithm 41
  const w = [...input];
  let m = 0;
  for (let length = 128; length >= 1; length >>= 1) {
    for (let start = 0; start < N; start += 2 * length) {
      const zeta = ZETAS[++m];
      for (let j = start; j < start + length; j++) {
        const t = times(zeta, w[j + length]);
        w[j + length] = mod(w[j] - t);
        w[j] = mod(w[j] + t);
      }
    }
  }
  return w;
}

function inverseNtt(input) { // algorithm 42
  const w = [...input];
  let m = N;
  for (let length = 1; length < N; length <<= 1) {
    for (let start = 0; start < N; start += 2 * length) {
      const zeta = Q - ZETAS[--m];
      for (let j = start; j < start + length; j++) {
        const t = w[j];
        w[j] = mod(t + w[j + length]);
        w[j + length] = times(zeta, mod(t - w[j + length]));
      }
    }
  }
  return w.map((value) => times(value, 8347681));
}

// So many little-endian numbers of `bits` bits each.
function unpacked(bytes, bits) {
  const values = [];
  let [held, count] = [0, 0];
  for (const byte of bytes) {
    held += byte * 2 ** count;
    count += 8;
    for (; count >= bits; count -= bits) {
      values.push(held % 2 ** bits);
      held = Math.floor(held / 2 ** bits);
    }
  }
  return values;
}

function rejected(seed, row, column) { // algorithm 30: one polynomial of the matrix
  const stream = shake("shake128", 2000, seed, Buffer.from([column, row]));
  const values = [];
  for (let at = 0; values.length < N; at += 3) {
    const value = stream[at] + 256 * stream[at + 1] + 65536 * (stream[at + 2] & 127);
    if (value < Q) values.push(value);
  }
  return values;
}

function challenge(seed) { // algorithm 29
  const stream = shake("shake256", 1000, seed);
  const c = new Array(N).fill(0);
  for (let index = N - TAU, at = 8, bit = 0; index < N; index++, bit++) {
    while (stream[at] > index) at++;
    const j = stream[at++];
    c[index] = c[j];
    c[j] = (stream[bit >> 3] >> (bit & 7)) & 1 ? Q - 1 : 1;
  }
  return c;
}

function hints(bytes) { // algorithm 21; null: malformed
  const rows = [];
  let at = 0;
  for (let row = 0; row < K; row++) {
    const [end, marked] = [bytes[OMEGA + row], new Set()];
    if (end < at || end > OMEGA) return null;
    for (const first = at; at < end; at++) {
      if (at > first && bytes[at - 1] >= bytes[at]) return null;
      marked.add(bytes[at]);
    }
    rows.push(marked);
  }
  return bytes.subarray(at, OMEGA).every((byte) => byte === 0) ? rows : null;
}

function usedHint(value, isMarked) { // algorithm 40
  let low = value % (2 * GAMMA2);
  if (low > GAMMA2) low -= 2 * GAMMA2;
  const high = value - low === Q - 1 ? 0 : (value - low) / (2 * GAMMA2);
  if (value - low === Q - 1) low -= 1;
  if (!isMarked) return high;
  return (high + (low > 0 ? 1 : 43)) % 44;
}

// Whether the signature is that of the message, without a context (algorithms 3 and 8).
export function verifyMldsa44(key, message, signature) {
  if (key.length !== 1312 || signature.length !== 2420) return false;
  const [seed, packed] = [key.subarray(0, 32), key.subarray(32)];
  const t1 = Array.from({ length: K }, (_, row) => unpacked(packed.subarray(row * 320, row * 320 + 320), 10));
  const [told, body, marks] = [signature.subarray(0, 32), signature.subarray(32, 32 + L * 576), hints(signature.subarray(32 + L * 576))];
  const z = Array.from({ length: L }, (_, row) => unpacked(body.subarray(row * 576, row * 576 + 576), 18).map((value) => GAMMA1 - value));
  if (!marks || z.flat().some((value) => Math.abs(value) >= GAMMA1 - BETA)) return false;
  const mu = shake("shake256", 64, shake("shake256", 64, key), Buffer.from([0, 0]), message);
  const c = ntt(challenge(told));
  const zHat = z.map((row) => ntt(row.map(mod)));
  const w1 = t1.map((row, number) => {
    const tHat = ntt(row.map((value) => times(value, 2 ** D)));
    const sum = tHat.map((value, index) => mod(-times(c[index], value)));
    zHat.forEach((polynomial, column) => {
      const a = rejected(seed, number, column);
      polynomial.forEach((value, index) => { sum[index] = mod(sum[index] + times(a[index], value)); });
    });
    return inverseNtt(sum).map((value, index) => usedHint(value, marks[number].has(index)));
  });
  const encoded = Buffer.concat(w1.map((row) => {
    const bytes = Buffer.alloc(192);
    row.forEach((value, index) => {
      const at = index * 6;
      bytes[at >> 3] |= (value << (at & 7)) & 255;
      if ((at & 7) > 2) bytes[(at >> 3) + 1] |= value >> (8 - (at & 7));
    });
    return bytes;
  }));
  return shake("shake256", 32, mu, encoded).equals(told);
}
