// What to ask for, as it is entered in its panel: of each file the same.

import { NOTHING_ASKED, NotUnderstood, readSpan, readTime } from "./asked.js";
import { byId, fill } from "./dom.js";
import { Refused } from "./proof/errors.js";
import { parsePolicy } from "./proof/tlog.js";

const MAX_POLICY_BYTES = 1024 * 1024;

/** Listen to the panel; `onAsked` is told what is asked from then on, and how to say that. */
export function watchQuestion(onAsked) {
  byId("asked").addEventListener("submit", (event) => ask(event, onAsked));
  byId("asked").addEventListener("reset", () => {
    for (const id of ["at-error", "fresh-error", "policy-error"]) fill(byId(id));
    use(NOTHING_ASKED, null, onAsked);
  });
}

async function ask(event, onAsked) {
  event.preventDefault();
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
    entered.policy = policy && parsePolicy(new Uint8Array(await policy.slice(0, MAX_POLICY_BYTES + 1).arrayBuffer()));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    fill(byId("policy-error"), `${error.message}. Choose another file.`);
    wrong ??= byId("policy");
  }
  if (wrong) wrong.focus();
  else use(entered, policy, onAsked);
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
