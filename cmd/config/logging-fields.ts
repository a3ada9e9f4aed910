// LoggingConfiguration of component-base, which KubeletConfiguration and KubeProxyConfiguration share.
import { type Fields, field, none, optional, type Settled } from './field.ts';
import {
  bool,
  duration,
  int,
  list,
  oneOf,
  printDuration,
  record,
  scalar,
  splitCommas,
  stringType,
  text,
  type ValueType,
} from './values.ts';

/** Nanoseconds as a number is the old form of this field. */
const flushFrequency: ValueType<number> = {
  ...scalar('a duration such as 5s', (v) => (typeof v === 'number' ? v / 1e6 : duration().read(v, '', () => {}))),
  print: printDuration,
};
const pattern = stringType('a component such as pleg, or a pattern such as csi*', (v) => /^[^=,]+$/.test(v));
const streams = record({ splitStream: bool, infoBufferSize: text });

/** In a flag `pattern=verbosity,...`; a pattern is matched against the component of a line. */
const modules = list(record({ filePattern: pattern, verbosity: int(0) }, ['filePattern']));
const vmodule: typeof modules = {
  ...modules,
  expected: 'pattern=verbosity pairs such as pleg=6,csi*=4',
  fromFlag: (texts) =>
    splitCommas(texts).map((pair) => {
      const match = /^([^=]+)=(\d+)$/.exec(pair);
      return match === null ? pair : { filePattern: match[1], verbosity: Number(match[2]) };
    }),
};

export type LogFields = Settled<typeof loggingFields>;

export const loggingFields = {
  /** Upstream's default is text. */
  format: field('used', oneOf('text', 'json'), 'json'),
  flushFrequency: field(none('each line is written at once'), flushFrequency, 5000),
  verbosity: field('used', int(0), 0),
  vmodule: optional('used', vmodule),
  options: optional(none('each line is written at once, to standard error'), record({ text: streams, json: streams })),
} satisfies Fields;
