// Looks for the sockets of plugins below a directory, its argument, until there is one; then says its name and ends. Run
// where the kernel grants no inotify watch.
import { createServer } from 'node:net';
import path from 'node:path';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { SocketWatcher } from '../../kubelet/plugins/socket-watcher.ts';

const root = process.argv[2]!;
const clock = new FakeClock();
const stop = new AbortController();
let looks = 0;
const watcher = new SocketWatcher(
  root,
  (sockets) => {
    looks++;
    for (const file of sockets.keys()) {
      process.stdout.write(`${path.basename(file)}\n`);
      stop.abort();
    }
  },
  { clock, log: silentLog },
);
const ended = watcher.run(stop.signal);
while (looks === 0) await new Promise(setImmediate);
const server = createServer().listen(path.join(root, 'late.sock'));
while (!stop.signal.aborted) {
  await clock.advance(10_000);
  await new Promise(setImmediate);
}
await ended;
server.close();
