// docs/configuration.md, written from the tables that the configuration is read by:
//   node cmd/config/configuration-doc.ts > docs/configuration.md
import { ACTED_ON, GATES } from './feature-gates.ts';
import type { Effect, Field, Fields } from './field.ts';
import { KINDS } from './fields.ts';
import { FLAGS, type Flag } from './flag-table.ts';
import { LEGACY_DEFAULTS } from './kubelet-fields.ts';

const INTRODUCTION = `# Configuration

<!-- Written by \`node cmd/config/configuration-doc.ts > docs/configuration.md\`; a test compares. -->

\`nodelet agent\` and \`nodelet kubelet\` take the kubelet's configuration file and flags, \`nodelet proxy\` those of kube-proxy,
\`nodelet network\` those of flanneld. \`--help\` lists the flags that do something.

## Where a setting comes from

From low to high: default, \`--config\`, \`--config-dir\`, flags. Feature gates and other maps of files are merged key by key;
lists are replaced; \`null\` in a drop-in brings the default back.

- \`--config\` is YAML or JSON. It may hold one document of each kind below, so that one file does for the whole agent. A
  relative path in it starts at its own directory.
- \`--config-dir\` is walked in the order of names; files that end in \`.conf\` are merged over \`--config\`
  (JSON merge patch). A relative path in them is left as it is.
- \`0s\`, \`0\` and an empty text mean the default, except where the table says that zero counts.
- Without \`--config\` and \`--config-dir\` the kubelet's old defaults hold: ${legacyDefaults()}.
  \`--config-dir\` alone is merged over them.

Every fault of flags and files is told at once, with the file or flag, the path of the field and the nearest known name,
before anything is changed. Two things are stricter than upstream: an unknown field of a file, or one that stands twice, is
a fault, not a line in the log; and what is not supported is refused by name. The log is JSON
unless \`logging.format\` says \`text\`, and \`vmodule\` takes components (the part before \`]\` in a line of text) for files.

\`GET /configz\` of a node answers with what is in effect.

In the tables, *honoured* is a setting that does what it does upstream, *no effect* one that is accepted and has nothing to
change here, and *refused* one that may only have its default; the reason is beside it.
`;

const IMAGE_TOKENS = `## Tokens for registries

A credential provider plugin with \`tokenAttributes\` is given a token of the pod's service account, for the audience that it
names. API servers give nodes tokens only for audiences that a pod of theirs asks for itself (the
NodeRestriction admission plugin with \`ServiceAccountNodeAudienceRestriction\`, on by default), so this one has to be
granted, once per cluster:

\`\`\`yaml
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: nodelet:registry-audience
rules:
  - apiGroups: [""]
    resources: [registry.example] # serviceAccountTokenAudience of the plugin's configuration
    verbs: [request-serviceaccounts-token-audience]
    # resourceNames: [puller]      # only for service accounts of these names
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: nodelet:registry-audience
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: nodelet:registry-audience }
subjects:
  - { apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:nodes }
\`\`\`

Without it the plugin is not asked, the log says \`no credentials from a plugin\` with the server's reason, and the image is
pulled without its credentials.
`;

function legacyDefaults(): string {
  const flat = (value: unknown, path: string): string[] =>
    typeof value === 'object' && value !== null && Object.keys(value).length > 0
      ? Object.entries(value).flatMap(([key, inner]) => flat(inner, path === '' ? key : `${path}.${key}`))
      : [`\`${path}: ${JSON.stringify(value).replaceAll('"', '')}\``];
  return flat(LEGACY_DEFAULTS, '').join(', ');
}

/** The whole document. */
export function renderConfigurationDoc(): string {
  const kinds = Object.entries(KINDS).map(
    ([kind, { apiVersion, fields }]) => `## ${kind}\n\n\`${apiVersion}\`\n\n${fieldTable(fields)}`,
  );
  const flags = (['agent', 'proxy', 'network'] as const).map((which) => {
    const also = which === 'agent' ? '`nodelet agent` and `nodelet kubelet`' : `\`nodelet ${which}\``;
    return `## Flags of ${also}\n\n${flagTable(FLAGS[which])}`;
  });
  return [INTRODUCTION, ...kinds, ...flags, IMAGE_TOKENS, gateSection()].join('\n');
}

function fieldTable(fields: Fields): string {
  const rows = leaves(fields, '').map(([path, f]) => row(`\`${path}\``, f.type.expected, defaultOf(f), here(f.effect)));
  return ['| field | takes | default | here |', '|---|---|---|---|', ...rows, ''].join('\n');
}

function leaves(fields: Fields, prefix: string): (readonly [string, Field<unknown, unknown>])[] {
  return Object.entries(fields).flatMap(([name, f]) =>
    f.fields === undefined ? [[`${prefix}${name}`, f] as const] : leaves(f.fields, `${prefix}${name}.`),
  );
}

function defaultOf(f: Field<unknown, unknown>): string {
  const { initial, type, keepZero } = f;
  const zero = keepZero ? ' (zero counts)' : '';
  if (initial === undefined || initial === '') return zero.trim();
  const value = type.print === undefined ? initial : type.print(initial);
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\`${zero}`;
}

function here(effect: Effect): string {
  if (effect === 'used') return 'honoured';
  return 'none' in effect ? `no effect: ${effect.none}` : `refused: ${effect.refused}`;
}

function flagTable(flags: readonly Flag[]): string {
  const rows = flags.map((flag) => {
    const { path, also } = flag.target ?? {};
    const sets = path === undefined ? '' : `sets \`${path}\`${also === undefined ? '' : ` and \`${also}\``}`;
    const says =
      flag.effect === 'used'
        ? sets === ''
          ? (flag.help ?? '')
          : sets
        : [sets, here(flag.effect)].filter(Boolean).join('; ');
    return row(`\`--${flag.name}\``, says, flag.deprecated === undefined ? '' : `deprecated: ${flag.deprecated}`);
  });
  return ['| flag | does | |', '|---|---|---|', ...rows, ''].join('\n');
}

function gateSection(): string {
  const acted = [...ACTED_ON].map((name) => {
    const { stage, on, locked } = GATES.get(name)!;
    return row(`\`${name}\``, stage, on ? 'on' : 'off', locked ? 'locked' : '');
  });
  return `## Feature gates

All ${GATES.size} gates of v1.36 are known, since components share their configuration; \`AllAlpha\` and \`AllBeta\` set those of
a stage. An unknown gate, a locked one with another value, and one that needs another which is off are faults. These are
looked at here; the features of all other gates are always as by default, and setting one of them is told at start.
\`KUBE_FEATURE_…\` in the environment is about client-go, which is not in here, and has no effect.

| gate | stage | default | |
|---|---|---|---|
${acted.join('\n')}
`;
}

function row(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

if (import.meta.main) process.stdout.write(renderConfigurationDoc());
