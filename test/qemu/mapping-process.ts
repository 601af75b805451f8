/** A process that maps a file and does with its pages what a test says. It is Python: Node has no mmap. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { ProcessIdentity } from "../../cli/qemu/pagemap.ts";
import { processStartTime } from "../../cli/qemu/process-identity.ts";
import type { Teardown } from "./qemu-fixture.ts";

const script = `
import mmap, os, sys
path, length, copies = sys.argv[1], int(sys.argv[2]), int(sys.argv[4])
flags = mmap.MAP_SHARED if sys.argv[3] == "shared" else mmap.MAP_PRIVATE
file = os.open(path, os.O_RDWR)
maps = [mmap.mmap(file, length, flags, mmap.PROT_READ | mmap.PROT_WRITE) for _ in range(copies)]
print(os.getpid(), flush=True)
for line in sys.stdin:
    what, page, value = line.split()
    at = int(page) * 4096
    if what == "write": maps[0][at] = int(value)
    if what == "discard": maps[0].madvise(mmap.MADV_DONTNEED, at, 4096)
    print(maps[0][at] if what == "read" else 0, flush=True)
`;

/** What can be done with a page. */
export type PageAction = "read" | "write" | "discard";

/** The process. */
export interface MappingProcess extends ProcessIdentity {
  /** The first byte of the page for `read`, else 0. `value` is written as the page's first byte. */
  do(what: PageAction, page: number, value?: number): Promise<number>;
  end(): Promise<void>;
}

/** Starts one that maps the first `lengthBytes` of a file, privately and once unless said otherwise; it is ended after the test. */
export async function startMapping(
  test: Teardown,
  path: string,
  lengthBytes: number,
  { shared = false, copies = 1 } = {},
): Promise<MappingProcess> {
  const args = ["-c", script, path, String(lengthBytes), shared ? "shared" : "private", String(copies)];
  const child = spawn("python3", args, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const end = async () => {
    child.stdin.end();
    await exited;
  };
  test.teardown(end);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const answer = async () => Number((await lines.next()).value);
  const pid = await answer();
  const startTime = await processStartTime(pid);
  if (startTime === null) throw new Error("the mapping process has ended");
  return {
    pid,
    startTime,
    do: async (what, page, value = 0) => {
      child.stdin.write(`${what} ${page} ${value}\n`);
      return await answer();
    },
    end,
  };
}
