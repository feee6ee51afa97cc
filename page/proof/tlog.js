/** Proof files (c2sp.org/tlog-proof) and policies (c2sp.org/tlog-policy); `tlog_proof.py`, `tlog_policy.py`. */

import { readUtf8, toHex } from "./bytes.js";
import { parseCheckpoint, parseNumber, signedAt } from "./checkpoint.js";
import { Refused } from "./errors.js";
import { COSIGNATURE_TYPE, LOG_TYPE, ML_DSA_TYPE, decodeBase64, decodeDigest, parseKey, parseNote } from "./note.js";

/** Most bytes of a proof file. */
export const MAX_PROOF_BYTES = 256 * 1024;

const MAX_PATH = 63;
const FIRST_LINE = "c2sp.org/tlog-proof@v1";
const MAX_POLICY_BYTES = 1024 * 1024;
const MAX_USES = 4_096; // keys, and members of groups
const POLICY_CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;
const GROUP_COUNT = /^[1-9][0-9]{0,3}$/;
/** Least and most words after each kind: with a URL or not. */
const POLICY_WORDS = new Map([["log", [1, 2]], ["witness", [2, 3]], ["group", [3, 2 + MAX_USES]], ["quorum", [1, 1]]]);

/**
 * Throw `Refused` (P1) unless this is a proof file, in its one canonical form.
 * @param {Uint8Array} data @returns {{extra: Uint8Array | null, logIndex: number, path: Uint8Array[], checkpoint: any}}
 */
export function parseProof(data) {
  if (data.length > MAX_PROOF_BYTES) {
    throw new Refused("P1", `a proof of ${data.length} bytes, ${MAX_PROOF_BYTES} allowed`);
  }
  const text = readUtf8(data);
  if (text === null) throw new Refused("P1", "the proof is not text in UTF-8");
  const gap = text.indexOf("\n\n");
  const lines = (gap < 0 ? text : text.slice(0, gap)).split("\n");
  if (lines.shift() !== FIRST_LINE || gap < 0) {
    throw new Refused("P1", `a proof begins with ${FIRST_LINE}, and has an empty line before its checkpoint`);
  }
  const extra = lines[0]?.startsWith("extra ") ? decodeBase64(lines.shift().slice(6), "extra") : null;
  const line = lines.shift() ?? "";
  if (!line.startsWith("index ")) {
    throw new Refused("P1", "the index is missing: a line index N, after the first or after extra");
  }
  const logIndex = parseNumber(line.slice(6), "the index");
  const path = lines.map((one, at) => decodeDigest(one, `hash ${at + 1}`));
  if (path.length > MAX_PATH) throw new Refused("P1", `${path.length} hashes, ${MAX_PATH} allowed`);
  return { extra, logIndex, path, checkpoint: parseNote(text.slice(gap + 2)) };
}

/** What a verifier asks of the signatures under a checkpoint. */
export class Policy {
  constructor() {
    /** Of logs and witnesses, in the order of their lines. */
    this.keys = [];
    /** By name: a witness's key in hexadecimal digits ("": of a type that is not verified here), or a group. */
    this.names = new Map([["none", { least: 0, members: [] }]]);
    this.quorum = "";
    this.used = new Set();
  }

  /** Whether the witnesses with these public keys, which all signed, are a quorum. @param {Set<string>} keys in hex */
  holds(keys) {
    const met = new Set();
    for (const [name, one] of this.names) {
      const isMet =
        typeof one === "string" ? keys.has(one) : one.members.filter((member) => met.has(member)).length >= one.least;
      if (isMet) met.add(name);
    }
    return met.has(this.quorum);
  }

  /** Throw `Refused` (P1, P7) unless a log signed this checkpoint, and a quorum cosigned it, and none badly. */
  check(note) {
    const { origin } = parseCheckpoint(note.text);
    const signers = this.keys.filter((key) => signedAt(key, note).length > 0);
    if (!signers.some((key) => key.type === LOG_TYPE && key.name === origin)) {
      throw new Refused("P7", `no log of the policy signed this checkpoint of ${origin}`);
    }
    if (!this.holds(cosigning(signers))) throw new Refused("P7", "those who cosigned are no quorum of the policy");
  }
}

/** Throw `Refused` (P1) unless it is a policy that can be fulfilled here. @param {Uint8Array} data @returns {Policy} */
export function parsePolicy(data) {
  // Names are bytes, whatever they mean: a character stands for each byte.
  const text = data.length > MAX_POLICY_BYTES ? "" : byteText(data);
  if (POLICY_CONTROL.test(text) || !text.endsWith("\n")) {
    throw new Refused("P1", `a policy is at most ${MAX_POLICY_BYTES} bytes of lines without control characters`);
  }
  const policy = new Policy();
  text.slice(0, -1).split("\n").forEach((line, at) => {
    const words = line.match(/[^ \t]+/g) ?? [];
    if (words.length === 0 || words[0].startsWith("#")) return;
    try {
      addPolicyLine(policy, words[0], words.slice(1));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      throw new Refused("P1", `line ${at + 1} of the policy: ${error.reason}`);
    }
  });
  if (policy.quorum === "" || !policy.keys.some((key) => key.type === LOG_TYPE)) {
    throw new Refused("P1", "a policy has a quorum, and the Ed25519 key (type 0x01) of one log at least");
  }
  if (!policy.holds(cosigning(policy.keys))) {
    throw new Refused("P1", "the quorum of the policy needs keys of types that are not verified here");
  }
  return policy;
}

function byteText(data) {
  let text = "";
  for (let at = 0; at < data.length; at += 4096) text += String.fromCharCode(...data.subarray(at, at + 4096));
  return text;
}

function addPolicyLine(policy, kind, words) {
  const [least, most] = POLICY_WORDS.get(kind) ?? [1, 0];
  if (words.length < least || words.length > most || policy.used.size >= MAX_USES) {
    throw new Refused("P1", "it is no log, witness, group or quorum of the known form, or one too many");
  }
  const [name] = words;
  if (kind === "quorum") {
    if (policy.quorum !== "" || !policy.names.has(name)) {
      throw new Refused("P1", "the one quorum is none, or a witness or group of a line before");
    }
    policy.quorum = name;
    return;
  }
  if (kind !== "log" && policy.names.has(name)) {
    throw new Refused("P1", "a witness or group has a name of its own, other than none");
  }
  if (kind === "group") policy.names.set(name, policyGroup(policy, words[1], words.slice(2)));
  else addPolicyKey(policy, kind, name, words[kind === "log" ? 0 : 1]);
}

function addPolicyKey(policy, kind, name, text) {
  const gap = text.indexOf("+");
  const named = Uint8Array.from(gap < 0 ? text : text.slice(0, gap), (character) => character.charCodeAt(0));
  const key = parseKey(readUtf8(named), gap < 0 ? "" : text.slice(gap + 1));
  usePolicyName(policy, kind, toHex(key.publicKey));
  const isKnown = kind === "log" ? key.type === LOG_TYPE : key.type === COSIGNATURE_TYPE || key.type === ML_DSA_TYPE;
  if (isKnown) policy.keys.push(key);
  if (kind === "witness") {
    if (key.type === LOG_TYPE) throw new Refused("P1", "a witness signs by a type for cosignatures, not 0x01");
    policy.names.set(name, key.type === COSIGNATURE_TYPE ? toHex(key.publicKey) : "");
  }
}

function policyGroup(policy, count, members) {
  for (const name of members) {
    if (!policy.names.has(name) || name === "none") {
      throw new Refused("P1", "a member of a group is a witness or group of a line before");
    }
    usePolicyName(policy, "member", name);
  }
  const counted = GROUP_COUNT.test(count) ? Number(count) : 0;
  const least = count === "any" ? 1 : count === "all" ? members.length : counted;
  if (least < 1 || least > members.length) {
    throw new Refused("P1", "a group says all, any, or a number from 1 to that of its members");
  }
  return { least, members };
}

function usePolicyName(policy, kind, what) {
  const use = `${kind} ${what}`;
  if (policy.used.has(use)) throw new Refused("P1", `a ${kind} stands in a line before`);
  policy.used.add(use);
}

function cosigning(keys) {
  return new Set(keys.filter((key) => key.type === COSIGNATURE_TYPE).map((key) => toHex(key.publicKey)));
}
