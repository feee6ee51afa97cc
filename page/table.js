// Many files: a line for each, with a filter; a line opens to the file's card.

import { element, icon } from "./dom.js";
import { MARK_MEANS, isMarked, many, rowOf } from "./words.js";

const COLUMNS = ["File", "Verdict", "Issuer", "Block time", "Status as of", "Check"];
const FILTERS = [
  ["all", "All"],
  ["verified", "Verified"],
  ["not", "Not verified"],
];

/** Verdicts as a table; those that are not verified come first. `state` keeps what is open and filtered, over changes. */
export function table(verdicts, state, cardOf) {
  const verified = verdicts.filter((one) => one.verdict.failure === null).length;
  const order = [...verdicts].sort((one, other) => (one.verdict.failure === null) - (other.verdict.failure === null));
  const bodies = order.map((one) => bodyOf(one, state, cardOf));
  const nothing = element("p", { class: "hint", hidden: true }, "No file is shown: change the filter.");
  const apply = () => {
    const shown = bodies.filter(({ body, one }) => !(body.hidden = !isShown(one.verdict, state)));
    nothing.hidden = shown.length > 0;
  };
  const summary = element(
    "p",
    { class: "summary" },
    element("strong", {}, many(verdicts.length, "file")),
    ": ",
    element("span", { class: "good" }, `${verified} verified`),
    ", ",
    element("span", { class: verified < verdicts.length ? "bad" : "" }, `${verdicts.length - verified} not`),
  );
  const head = element(
    "thead",
    {},
    element("tr", {}, ...COLUMNS.map((title) => element("th", { scope: "col" }, title))),
  );
  apply();
  return element(
    "div",
    { class: "many" },
    summary,
    filters(state, apply),
    element(
      "div",
      { class: "scroll" },
      element(
        "table",
        {},
        element("caption", { class: "hidden" }, "Verdicts"),
        head,
        ...bodies.map(({ body }) => body),
      ),
    ),
    nothing,
    verdicts.some((one) => isMarked(one.verdict)) ? element("p", { class: "hint" }, MARK_MEANS) : null,
  );
}

function filters(state, apply) {
  const choices = FILTERS.map(([value, label]) => {
    const input = element("input", {
      type: "radio",
      name: "filter",
      id: `filter-${value}`,
      checked: state.filter === value,
      change: () => {
        state.filter = value;
        apply();
      },
    });
    return [input, element("label", { for: `filter-${value}` }, label)];
  });
  const search = element("input", {
    type: "search",
    id: "filter-name",
    autocomplete: "off",
    input: () => {
      state.search = search.value;
      apply();
    },
  });
  search.value = state.search;
  return element(
    "div",
    { class: "filters" },
    element("fieldset", { class: "choices" }, element("legend", { class: "hidden" }, "Show"), ...choices.flat()),
    element("label", { for: "filter-name" }, "Name has"),
    search,
  );
}

function isShown(verdict, state) {
  const isVerified = verdict.failure === null;
  const isKind = state.filter === "all" || (state.filter === "verified") === isVerified;
  return isKind && verdict.name.toLowerCase().includes(state.search.toLowerCase());
}

function bodyOf(one, state, cardOf) {
  const cells = rowOf(one.verdict, one.nowMs);
  const id = `more-${one.number}`;
  const more = element("tr", { id, class: "more", hidden: true });
  const show = (isOpen) => {
    opener.setAttribute("aria-expanded", String(isOpen));
    more.hidden = !isOpen;
    if (isOpen && !more.firstChild) more.append(element("td", { colspan: COLUMNS.length }, cardOf(one)));
  };
  const opener = element(
    "button",
    {
      type: "button",
      class: "opener",
      "aria-expanded": "false",
      "aria-controls": id,
      click: () => {
        state.open[state.open.has(one.key) ? "delete" : "add"](one.key);
        show(state.open.has(one.key));
      },
    },
    cells.File,
  );
  const sign = { verified: "verified", certified_part: "part" }[one.verdict.result] ?? "failed";
  const row = element(
    "tr",
    { class: `line is-${sign}`, "data-result": one.verdict.result },
    element("th", { scope: "row" }, opener),
    element(
      "td",
      { "data-title": "Verdict" },
      element("span", { class: "verdict" }, icon(sign === "part" ? "warning" : sign), cells.Verdict),
    ),
    ...COLUMNS.slice(2).map((title) =>
      element("td", { "data-title": title, class: cells[title] ? "" : "empty" }, cells[title]),
    ),
  );
  show(state.open.has(one.key));
  return { one, body: element("tbody", {}, row, more) };
}
