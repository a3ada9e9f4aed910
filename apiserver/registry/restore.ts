/** Sets or removes a member of `next` as it is in `old`. */
export function restore<T extends object>(next: T, old: T | undefined, member: keyof T): void {
  if (old?.[member] === undefined) delete next[member];
  else next[member] = old[member];
}
