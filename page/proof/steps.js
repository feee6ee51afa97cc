/** Work in steps: a generator that yields nothing, between whose steps whoever asked for it can do other things. */

/** What steps come to, taken without a pause. @template T @param {Generator<void, T>} steps @returns {T} */
export function finished(steps) {
  let step = steps.next();
  while (!step.done) step = steps.next();
  return step.value;
}
