// The test driver as a process of its own: `node csi-driver-main.ts OPTIONS`, with CsiDriverOptions as JSON. Each line
// of standard input names a method whose next call hangs for ever; each call is told on standard output.
import { createInterface } from 'node:readline';
import { type CsiDriverOptions, TestCsiDriver } from './csi-driver.ts';

const driver = new TestCsiDriver(JSON.parse(process.argv[2] ?? '{}') as CsiDriverOptions);
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
driver.onCall = (method) => say({ call: method });
driver.onStatus = (status) => say({ status });
say({ pid: process.pid });
const orders = createInterface({ input: process.stdin });
orders.on('close', () => process.exit(0)); // whoever started it has gone
orders.on('line', (method) => {
  driver.next(method, { hang: new Promise(() => {}) });
  say({ order: method });
});
await driver.start();
