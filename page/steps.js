// Long work in steps, between which the browser shows what there is and takes what the user does.

const MOST_MS = 40;

let pausedMs = 0;

/** Let the browser do what waits, if it had no time to lately. */
export async function pause() {
  if (performance.now() - pausedMs < MOST_MS) return;
  await new Promise((resume) => setTimeout(resume));
  pausedMs = performance.now();
}

/** What steps come to, with pauses between them. */
export async function inSteps(steps) {
  let step = steps.next();
  while (!step.done) {
    await pause();
    step = steps.next();
  }
  return step.value;
}
