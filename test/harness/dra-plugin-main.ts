// The test driver as a process of its own: `node dra-plugin-main.ts OPTIONS`, with DraPluginOptions as JSON. Each line of
// standard input, e.g. `hang NodePrepareResources`, says what happens to the next call; each call is told on standard output.
import { createInterface } from 'node:readline';
import { type DraFault, type DraPluginOptions, TestDraPlugin } from './dra-plugin.ts';

const plugin = new TestDraPlugin(JSON.parse(process.argv[2] ?? '{}') as DraPluginOptions);
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
plugin.onCall = (call) => say({ call });
plugin.onStatus = (status) => say({ status });
say({ pid: process.pid });
const orders = createInterface({ input: process.stdin });
orders.on('close', () => process.exit(0)); // whoever started it has gone
orders.on('line', (line) => {
  const [fault, method] = line.split(' ') as [DraFault, string];
  plugin.next(method, fault);
  say({ order: line });
});
await plugin.start();
