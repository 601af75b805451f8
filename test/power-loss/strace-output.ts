/**
 * Reads what strace wrote with `-f -y -xx`: all strings and paths are hexadecimal, so nothing in them can be taken for
 * syntax.
 *
 *     line       =  pid " " ( call | begun | resumed )
 *     call       =  name "(" arguments ")" " "* "= " result
 *     begun      =  name "(" arguments " <unfinished ...>"
 *     resumed    =  "<... " name " resumed>" arguments ")" " "* "= " result
 *     descriptor =  number "<" path ">" "(deleted)"?
 */

/** A system call. */
export interface Call {
  readonly pid: number;
  readonly name: string;
  /** As they stand there; when the call is entered, perhaps only the first ones. */
  readonly args: readonly string[];
  /** What it returned; null when it is entered. */
  readonly result: string | null;
}

/** Calls of several threads overlap: each one is told when it is entered and when it is left. */
export interface CallEvent {
  readonly moment: "entered" | "left";
  readonly call: Call;
}

/** A process or thread, and whether it has the descriptors of the one that made it. */
export interface Descent {
  readonly parent: number;
  readonly sharesFiles: boolean;
}

const lineShape = /^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$/s;
const endShape = /^(.*)\) += (.*)$/s;
const unfinished = " <unfinished ...>";
const births = new Set(["clone", "clone3", "fork", "vfork"]);

/** Text as strace writes it with `-xx`. */
export function hexOf(text: string): string {
  return [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

/** The bytes of a string with `\x` before each of them. Throws Error if it is cut short or not one. */
export function bytesOf(argument: string): Uint8Array {
  const found = /^"((?:\\x[0-9a-f]{2})*)"$/.exec(argument);
  if (!found) throw new Error(`Cannot read ${JSON.stringify(argument.slice(0, 80))}: it is no whole string`);
  return new Uint8Array(Buffer.from(found[1].replaceAll("\\x", ""), "hex"));
}

/** A string argument as text. */
export function textOf(argument: string): string {
  return Buffer.from(bytesOf(argument)).toString("utf8");
}

/** A descriptor's number, and its path where strace tells one. */
export function descriptorOf(argument: string): { readonly number: number; readonly path: string | null } {
  const found = /^(-?\d+|AT_FDCWD)(?:<((?:\\x[0-9a-f]{2})*)>(?:\(deleted\))?)?$/.exec(argument);
  if (!found) throw new Error(`Cannot read ${JSON.stringify(argument.slice(0, 80))}: it is no descriptor`);
  const path = found[2] === undefined ? null : textOf(`"${found[2]}"`);
  return { number: found[1] === "AT_FDCWD" ? -100 : Number(found[1]), path };
}

/** The calls in a trace that name one of `wanted` (see `hexOf`), in their order. Throws Error about a line in another form. */
export function* readCalls(trace: string, wanted: readonly string[]): Generator<CallEvent> {
  const begun = new Map<number, { name: string; head: string; isWanted: boolean }>();
  for (const line of trace.split("\n")) {
    if (line === "") continue;
    const found = lineShape.exec(line);
    if (!found) throw new Error(`Cannot read a line of strace: ${line.slice(0, 200)}`);
    const [, pidText, resumedName, name = resumedName, rest] = found;
    const pid = Number(pidText);
    const isNamed = wanted.some((text) => rest.includes(text));
    let head = rest;
    if (resumedName !== undefined) {
      const before = begun.get(pid);
      if (before?.name !== name) throw new Error(`Cannot read a trace: ${name} of ${pid} never began`);
      begun.delete(pid);
      if (!before.isWanted && isNamed)
        throw new Error(`Cannot read a trace: ${name} names a path at its end`);
      if (!before.isWanted) continue;
      head = before.head + rest;
    } else if (rest.endsWith(unfinished)) {
      head = rest.slice(0, -unfinished.length);
      begun.set(pid, { name, head, isWanted: isNamed });
      if (isNamed) yield { moment: "entered", call: { pid, name, args: split(head), result: null } };
      continue;
    } else if (!isNamed) continue;
    const ended = endShape.exec(head);
    if (!ended) throw new Error(`Cannot read a line of strace: ${line.slice(0, 200)}`);
    const args = split(ended[1]);
    if (resumedName === undefined) yield { moment: "entered", call: { pid, name, args, result: null } };
    yield { moment: "left", call: { pid, name, args, result: ended[2] } };
  }
  for (const [pid, { name, isWanted }] of begun) {
    if (isWanted) throw new Error(`Cannot read a trace: ${name} of ${pid} never ended`);
  }
}

/** All processes and threads that others made. Read ahead: a new one's first line may come before its maker's. */
export function readDescents(trace: string): Map<number, Descent> {
  const descents = new Map<number, Descent>();
  const begun = new Map<number, string>();
  for (const line of trace.split("\n")) {
    const found = lineShape.exec(line);
    if (!found) continue;
    const [, pidText, resumedName, name = resumedName, rest] = found;
    if (!births.has(name)) continue;
    const pid = Number(pidText);
    if (rest.endsWith(unfinished)) {
      begun.set(pid, rest);
      continue;
    }
    const whole = (resumedName === undefined ? "" : (begun.get(pid) ?? "")) + rest;
    const child = /\) += (\d+)$/.exec(whole);
    if (!child) continue;
    if (descents.has(Number(child[1]))) throw new Error(`Cannot read a trace: ${child[1]} was made twice`);
    descents.set(Number(child[1]), { parent: pid, sharesFiles: whole.includes("CLONE_FILES") });
  }
  return descents;
}

/** Arguments at the outermost level. */
function split(text: string): string[] {
  const args: string[] = [];
  let depth = 0;
  let start = 0;
  let isQuoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') isQuoted = !isQuoted;
    if (isQuoted) continue;
    if ("([{".includes(c)) depth++;
    else if (")]}".includes(c)) depth--;
    else if (c === "," && depth === 0) {
      args.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  const last = text.slice(start).trim();
  if (last !== "") args.push(last);
  return args;
}
