// Which process the kernel killed for lack of memory, gathered from the lines of its log. Pure. After cadvisor's
// utils/oomparser. What a line holds may come from a process's own name: nothing but its form is trusted.

export interface OomKill {
  /** The cgroup that the process was in; `/` when the kernel did not name one. */
  readonly victimCgroup: string;
  readonly pid: number;
  readonly process: string;
}

const BEGINS = /invoked oom-killer:/;
/** Since kernel 5.0: `oom-kill:constraint=…,oom_memcg=/a,task_memcg=/a/b,task=sh,pid=1,uid=0`. */
const SUMMARY = /^oom-kill:.*,task_memcg=([^,]*),task=/;
/** Before: `Task in /a/b killed as a result of limit of /a`. */
const OLD_SUMMARY = /^Task in (\S+) killed as a result of limit of/;
const KILLED = /Killed process (\d{1,10}),? (?:UID \d+, )?\((.{0,32})\)/;

export class OomMessages {
  #victimCgroup: string | undefined;

  /** Takes the next line; tells of a kill with the last line of its block. */
  take(line: string): OomKill | undefined {
    if (BEGINS.test(line)) {
      this.#victimCgroup = '/';
      return undefined;
    }
    if (this.#victimCgroup === undefined) return undefined;
    const cgroup = (SUMMARY.exec(line) ?? OLD_SUMMARY.exec(line))?.[1];
    if (cgroup !== undefined) this.#victimCgroup = cgroup;
    const killed = KILLED.exec(line);
    if (killed === null) return undefined;
    const victimCgroup = this.#victimCgroup;
    this.#victimCgroup = undefined;
    return { victimCgroup, pid: Number(killed[1]), process: killed[2]! };
  }
}
