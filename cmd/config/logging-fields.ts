// LoggingConfiguration of component-base, which KubeletConfiguration and KubeProxyConfiguration share.
import { type Fields, field, optional } from './field.ts';
import { bool, duration, int, list, oneOf, record, scalar, text } from './values.ts';

/** Nanoseconds as a number is the old form of this field. */
const flushFrequency = scalar('a duration such as 5s', (v) =>
  typeof v === 'number' ? v / 1e6 : duration().read(v, '', () => {}),
);
const streams = record({ splitStream: bool, infoBufferSize: text });

export const loggingFields = {
  format: field('later', oneOf('text', 'json'), 'text'),
  flushFrequency: field('none', flushFrequency, 5000),
  verbosity: field('used', int(0, 10), 0),
  vmodule: optional('later', list(record({ filePattern: text, verbosity: int(0) }, ['filePattern']))),
  options: optional('none', record({ text: streams, json: streams })),
} satisfies Fields;
