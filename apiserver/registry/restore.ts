/** Sets or removes a member of `next` as it is in `old`; a copy, for what is stored is frozen and defaults may follow. */
export function restore<T extends object>(next: T, old: T | undefined, member: keyof T): void {
  if (old?.[member] === undefined) delete next[member];
  else next[member] = structuredClone(old[member]);
}
