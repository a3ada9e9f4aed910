// Child of sqlite.test.ts: writes as fast as it can and says `key revision` for each acknowledged write, until killed.
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { SqliteStore } from './sqlite.ts';

const ROOT = '/registry/configmaps/';
const store = new SqliteStore({ dir: process.argv[2]! }, { clock: systemClock, log: silentLog });

async function writer(id: number): Promise<never> {
  for (let n = 0; ; n++) {
    const key = `default/${id}-${n}`;
    const object = {
      kind: 'ConfigMap',
      apiVersion: 'v1',
      metadata: { name: key },
      data: { text: 'x'.repeat(n % 4000) },
    };
    const result = await store.put(ROOT, key, object, { expected: 0 });
    if (result.ok) await say(`${key} ${result.item.revision}\n`);
  }
}

/** Waits for a reader that is behind. */
async function say(line: string): Promise<void> {
  await new Promise((resolve) => process.stdout.write(line, resolve));
}

await Promise.all(Array.from({ length: 8 }, (_, id) => writer(id)));
