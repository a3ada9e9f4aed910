// Accepts connections and nothing more; says so once it listens.
import { createServer } from 'node:net';

const server = createServer((socket) => {
  socket.on('error', () => {}); // clients end with a reset
});
server.listen({ port: Number(process.argv[2]), host: '0.0.0.0', backlog: 4_096 }, () =>
  process.stdout.write('ready\n'),
);
