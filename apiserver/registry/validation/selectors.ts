// Label selectors in specs. Source: apimachinery pkg/apis/meta/v1/validation.
import type { LabelSelector } from '../../../api/meta.ts';
import { type FieldError, forbiddenField, invalid, required } from '../field-errors.ts';
import { labelsFaults, qualifiedNameFaults } from '../metadata.ts';

const SELECTOR_OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

export function labelSelectorFaults(selector: LabelSelector | undefined, path: string): FieldError[] {
  const faults = labelsFaults(`${path}.matchLabels`, selector?.matchLabels ?? {});
  (selector?.matchExpressions ?? []).forEach((e, i) => {
    const field = `${path}.matchExpressions[${i}]`;
    faults.push(...qualifiedNameFaults(`${field}.key`, e.key));
    const values = e.values?.length ?? 0;
    if (!SELECTOR_OPERATORS.includes(e.operator)) {
      faults.push(invalid(`${field}.operator`, e.operator, 'not a valid selector operator'));
    } else if (e.operator.endsWith('In') && values === 0) {
      faults.push(required(`${field}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
    } else if (!e.operator.endsWith('In') && values > 0) {
      faults.push(
        forbiddenField(`${field}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
      );
    }
  });
  return faults;
}
