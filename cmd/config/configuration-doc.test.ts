import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { renderConfigurationDoc } from './configuration-doc.ts';

test('docs/configuration.md is what the tables say', async () => {
  const file = path.resolve(import.meta.dirname, '..', '..', 'docs', 'configuration.md');
  expect(await readFile(file, 'utf8'), 'run: node cmd/config/configuration-doc.ts > docs/configuration.md').toBe(
    renderConfigurationDoc(),
  );
});
