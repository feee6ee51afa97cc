// Reads times and spans, as they are entered, from standard input, and prints what the page makes of them; null: nothing.

import { readFileSync } from "node:fs";
import { readSpan, readTime } from "../../page/asked.js";

const tried = (read) => (text) => {
  try {
    return read(text);
  } catch {
    return null;
  }
};
const { times, spans } = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify({ times: times.map(tried(readTime)), spans: spans.map(tried(readSpan)) }));
