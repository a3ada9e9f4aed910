// An API server of a test's own, in its process: not started yet, and to be closed by the test.
import { ApiServer } from '../../apiserver/apiserver.ts';
import type { TlsOptions } from '../../apiserver/server.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';

/** With its store in `storeDir`, on any free port of loopback. `tls` is needed only by tests that start it. */
export function createApiServer(storeDir: string, tls: TlsOptions = { cert: '', key: '' }): ApiServer {
  return new ApiServer(
    {
      storeDir,
      durability: 'normal',
      listen: { address: '127.0.0.1', port: 0 },
      advertiseAddress: '127.0.0.1',
      tls,
      serviceCidr: '10.96.0.0/16',
    },
    { clock: systemClock, log: silentLog },
  );
}
