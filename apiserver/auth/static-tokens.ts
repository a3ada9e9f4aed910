// Tokens from a file: lines `token,user,uid,"group1,group2"`. After apiserver pkg/authentication/token/tokenfile.
import type { UserInfo } from '../request.ts';
import type { TokenAuthenticator, TokenIdentity } from './bearer-tokens.ts';

/** @throws {Error} naming the line that cannot be read. Empty lines and `#` comments are skipped. */
export function parseTokenFile(text: string): StaticTokens {
  const users = new Map<string, UserInfo>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [token, name, uid, groups = ''] = splitCsv(line.trim());
    if (!token || !name || uid === undefined)
      throw new Error(`token file, line ${index + 1}: expected token,user,uid[,"groups"]`);
    const list = groups
      .split(',')
      .map((g) => g.trim())
      .filter((g) => g !== '');
    users.set(token, { name, groups: list, ...(uid === '' ? {} : { uid }) });
  }
  return new StaticTokens(users);
}

class StaticTokens implements TokenAuthenticator {
  readonly #users: ReadonlyMap<string, UserInfo>;

  constructor(users: ReadonlyMap<string, UserInfo>) {
    this.#users = users;
  }

  authenticateToken(token: string): TokenIdentity | undefined {
    const user = this.#users.get(token);
    return user === undefined ? undefined : { user };
  }
}

function splitCsv(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
    (m) => m[1]?.replaceAll('""', '"') ?? (m[2] ?? '').trim(),
  );
}
