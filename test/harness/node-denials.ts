// What a lab's API server refused its nodes: with our own agent each line is a defect of the agent, since the lab's Node
// authorizer and NodeRestriction allow what those of Kubernetes do.
import { readFile } from 'node:fs/promises';
import path from 'node:path';

const DENIED = ['node asked for what it may not have', 'node sent what is not taken'];

/** One line per refusal since the lab came up. */
export async function nodeDenials(labDir: string): Promise<string[]> {
  const log = await readFile(path.join(labDir, 'apiserver.log'), 'utf8');
  return log.split('\n').filter((line) => DENIED.some((text) => line.includes(text)));
}
