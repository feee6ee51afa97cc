// Reads times, spans, counts, shares and texts from standard input, and prints how the page tells them.

import { readFileSync } from "node:fs";
import { lasting, many, percent, utc } from "../../page/words.js";
import { printable } from "../../page/text.js";

const { times = [], spans = [], counts = [], shares = [], texts = [] } = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(
  JSON.stringify({
    times: times.map(utc),
    spans: spans.map(lasting),
    counts: counts.map((one) => many(one, "day")),
    shares: shares.map(([part, whole]) => percent(part, whole)),
    texts: texts.map(printable),
  }),
);
