// `$(NAME)` in env values, commands and sub-paths (third_party/forked/golang/expansion). Pure.

/**
 * Replaces `$(NAME)` by `lookup(NAME)`; undefined leaves it as written. `$$` is a dollar sign, so `$$(NAME)` comes out
 * as `$(NAME)`; an unterminated `$(` and a lone `$` stay.
 */
export function expandVariables(text: string, lookup: (name: string) => string | undefined): string {
  return text.replace(/\$(?:\$|\(([^)]*)\))/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (lookup(name) ?? whole),
  );
}
