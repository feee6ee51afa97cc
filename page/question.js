// What to ask for, as it is entered in its panel: of each file the same.

import { NOTHING_ASKED, NotUnderstood, readSpan, readTime } from "./asked.js";
import { byId, fill } from "./dom.js";
import { Refused } from "./proof/errors.js";
import { parsePolicy } from "./proof/tlog.js";

const MAX_POLICY_BYTES = 1024 * 1024;

let asks = 0; // a policy that was still being read when something else was asked counts no more

/** Listen to the panel; `onAsked` is told what is asked from then on, and how to say that. */
export function watchQuestion(onAsked) {
  byId("asked").addEventListener("submit", (event) => ask(event, onAsked));
  byId("asked").addEventListener("reset", () => {
    asks += 1;
    for (const id of ["at-error", "fresh-error", "policy-error"]) fill(byId(id));
    use(NOTHING_ASKED, null, onAsked);
  });
}

async function ask(event, onAsked) {
  event.preventDefault();
  const own = (asks += 1);
  const policy = byId("policy").files[0] ?? null;
  const read = { atMs: ["at", readTime], freshMs: ["fresh", readSpan] };
  const entered = { issuer: byId("issuer").value.trim() || null };
  let wrong = null;
  for (const [name, [id, reader]] of Object.entries(read)) {
    fill(byId(`${id}-error`));
    try {
      entered[name] = reader(byId(id).value);
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      fill(byId(`${id}-error`), error.message);
      wrong ??= byId(id);
    }
  }
  fill(byId("policy-error"));
  try {
    entered.policy = policy && (await readPolicy(policy));
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error;
    if (own === asks) fill(byId("policy-error"), error.message);
    wrong ??= byId("policy");
  }
  if (own !== asks) return;
  if (wrong) wrong.focus();
  else use(entered, policy, onAsked);
}

/** The policy in a file. Throws `NotUnderstood`. */
async function readPolicy(file) {
  let data;
  try {
    data = new Uint8Array(await file.slice(0, MAX_POLICY_BYTES + 1).arrayBuffer());
  } catch {
    throw new NotUnderstood(`${file.name} cannot be read: it was changed or removed meanwhile. Choose it again.`);
  }
  try {
    return parsePolicy(data);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw new NotUnderstood(`${error.message}. Choose another file.`);
  }
}

function use(entered, policy, onAsked) {
  const parts = [
    entered.issuer ? `issuer ${entered.issuer}` : "any issuer",
    entered.atMs !== null ? `valid at ${byId("at").value.trim()}` : "",
    entered.freshMs !== null ? `status at most ${byId("fresh").value.trim()} old` : "",
    policy ? `policy ${policy.name}` : "",
  ].filter((part) => part);
  const isAnything = parts.length === 1 && !entered.issuer;
  fill(byId("asked-summary"), isAnything ? "Any issuer, at any age of its status" : parts.join(", "));
  onAsked(entered, isAnything ? "Nothing more is asked for." : `Asked for: ${parts.join(", ")}.`);
}
