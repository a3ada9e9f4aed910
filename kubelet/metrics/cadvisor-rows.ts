// Which cgroups /metrics/cadvisor shows, and how each is named. Pure.
import { deviceName } from '../../host/block-devices.ts';
import type { Row } from '../stats/row.ts';
import type { Sample } from '../stats/sampler.ts';
import { labelText } from './text.ts';

export interface CadvisorRow {
  /** `container`, `id`, `image`, `name`, `namespace` and `pod`, all of them, empty where they say nothing. */
  readonly labels: string;
  readonly row: Row;
  readonly isRoot: boolean;
}

interface Names {
  readonly container?: string;
  readonly image?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly pod?: string;
}

/** Each cgroup once. `pauseImage` is what sandboxes run. */
export function cadvisorRows(sample: Sample, pauseImage: string): CadvisorRow[] {
  const shown = new Map<Row, CadvisorRow>();
  const add = (row: Row, names: Names) => {
    if (row.use === undefined || row.details === undefined || shown.has(row)) return;
    shown.set(row, { labels: labelsOf(row, names), row, isRoot: row === sample.root });
  };
  add(sample.root, {});
  for (const { row } of sample.groups) add(row, {});
  for (const { target, row, sandbox, containers } of sample.pods) {
    const { name: pod, namespace } = target;
    if (row !== undefined) add(row, { namespace, pod });
    if (sandbox !== undefined) add(sandbox.row, { image: pauseImage, name: sandbox.target.id, namespace, pod });
    for (const { row: own, target: c } of containers) {
      add(own, { container: c.name, image: c.image, name: c.id, namespace, pod });
    }
  }
  return [...shown.values()];
}

function labelsOf(row: Row, { container = '', image = '', name = '', namespace = '', pod = '' }: Names): string {
  return labelText({ container, id: row.reader.name, image, name, namespace, pod });
}

/** Labels of a device, by number: the same few come with every cgroup. */
export class DeviceLabels {
  readonly #known = new Map<number, { readonly device: string; readonly numbers: string }>();

  of(major: number, minor: number): { readonly device: string; readonly numbers: string } {
    const key = major * 2 ** 20 + minor; // minors have 20 bits (MINORBITS)
    let labels = this.#known.get(key);
    if (labels === undefined) {
      const device = labelText({ device: deviceName(major, minor) });
      labels = { device, numbers: `${device},major="${major}",minor="${minor}"` };
      this.#known.set(key, labels);
    }
    return labels;
  }
}
