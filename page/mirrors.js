// The mirrors that were given: of each ledger one, from which newer proofs of the proofs at hand are made.

import { element, icon } from "./dom.js";
import { MirrorProblem } from "./mirror.js";
import { MirrorProver } from "./mirror_proving.js";
import { claimedLedger } from "./proof/judge.js";
import { many } from "./words.js";

const MOST_PROBLEMS = 8;
const ORIGIN_OF_LEDGER = /^.{1,200}\/([0-9a-f]{64})$/s;

/** Mirrors by the ledger that each says to be of; nothing of them is believed. */
export class Mirrors {
  /** `onRemoved` is told the name of a mirror that the user wants no more. */
  constructor(onRemoved) {
    this.onRemoved = onRemoved;
    this.clear();
  }

  clear() {
    this.byLedger = new Map();
    this.problems = [];
  }

  /** Use a folder as a mirror, in place of another of the same ledger; whether that can be. */
  async add(folder) {
    const prover = new MirrorProver((path, mostBytes) => bytesAt(folder, path, mostBytes));
    try {
      const { origin, size } = await prover.checkpoint();
      const found = ORIGIN_OF_LEDGER.exec(origin);
      if (found === null)
        throw new MirrorProblem(`it is of the log ${origin}, and of no ledger of this program; take another mirror`);
      this.byLedger.set(found[1], { name: folder.name, prover, origin, size });
      return true;
    } catch (error) {
      if (!(error instanceof MirrorProblem)) throw error;
      this.#tell(`${folder.name} is not used: ${error.message}.`);
      return false;
    }
  }

  /** A folder failed to be read. */
  unread(folder) {
    this.#tell(`${folder.name} cannot be read: it was changed or removed meanwhile; choose it again.`);
  }

  /** The mirror of the ledger that a proof says to be of; `null`: there is none. */
  of(proof) {
    const claimed = proof && this.byLedger.size ? claimedLedger(proof) : null;
    return claimed && (this.byLedger.get(claimed.ledgerId) ?? null);
  }

  /** What is used, and what is not, as elements; `ledgersAtHand` are the ids of those of the proofs at hand. */
  told(ledgersAtHand) {
    const used = [...this.byLedger].map(([ledgerId, { name, origin, size }]) => {
      const isNeeded = ledgersAtHand.has(ledgerId);
      const what = isNeeded ? "newer proofs are asked of it" : "no proof here is of its ledger";
      const remove = () => {
        this.byLedger.delete(ledgerId);
        this.onRemoved(name);
      };
      const text = `Mirror ${name}, which says that it has ${many(size, "certificate")} of ${origin}: ${what}.`;
      return note(
        "",
        "file",
        text,
        element(
          "button",
          { type: "button", class: "button small", click: remove },
          "Do not use it",
          element("span", { class: "hidden" }, `: mirror ${name}`),
        ),
      );
    });
    return [...used, ...this.problems.map((text) => note("warning", "warning", text))];
  }

  #tell(problem) {
    this.problems = [...this.problems.slice(1 - MOST_PROBLEMS), problem];
  }
}

function note(kind, sign, text, button = null) {
  const told = [element("p", {}, text), button && element("p", { class: "row" }, button)];
  return element("div", { class: `note ${kind}`, "data-mirror": true }, icon(sign), element("div", {}, ...told));
}

/** A file of a mirror, which is not read if it is longer than it may be. */
async function bytesAt(folder, path, mostBytes) {
  let [file, data] = [null, null];
  try {
    file = await folder.fileAt(path);
    if (file === null) return null;
    if (file.size <= mostBytes) data = new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new MirrorProblem(
      `the mirror's file ${path} cannot be read: it was changed or removed meanwhile; choose the mirror again`,
    );
  }
  if (data === null) {
    throw new MirrorProblem(
      `what the mirror holds is not sound: ${path} has ${file.size} bytes, ${mostBytes} allowed; take another mirror`,
    );
  }
  return data;
}
