// What a file of tests could leave in its process, for the next one there to stumble over.

/** By thing: how many of it there are, where it is counted; else what it is. */
export type ProcessState = Map<string, unknown>;

/** Of the globals those that tests have reasons to replace. */
const REPLACED = ['Date', 'setTimeout', 'setInterval', 'setImmediate', 'fetch', 'console'] as const;

export function processState(): ProcessState {
  const state: ProcessState = new Map();
  for (const resource of process.getActiveResourcesInfo()) {
    const thing = `open ${resource}`;
    state.set(thing, Number(state.get(thing) ?? 0) + 1);
  }
  for (const event of process.eventNames()) {
    state.set(`listeners of process: ${String(event)}`, process.listenerCount(event));
  }
  for (const [name, value] of Object.entries(process.env)) state.set(`environment variable ${name}`, value);
  for (const name of Object.getOwnPropertyNames(globalThis)) state.set(`globalThis.${name}`, '');
  for (const name of REPLACED) state.set(`globalThis.${name}`, globalThis[name]);
  state.set('working directory', process.cwd());
  state.set('umask', process.umask());
  return state;
}

/** What has changed since `before`. Less of what is counted is no matter: it was somebody else's. */
export function whatIsLeft(before: ProcessState, after: ProcessState): string[] {
  const things = new Set([...before.keys(), ...after.keys()]);
  return [...things].filter((thing) => {
    const was = before.get(thing);
    const is = after.get(thing);
    const isCounted = typeof (was ?? is) === 'number';
    return isCounted ? Number(is ?? 0) > Number(was ?? 0) : was !== is;
  });
}
