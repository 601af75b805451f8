/**
 * QEMU processes that outlive the agent: launched in a session of their own, found again by a record in
 * their folder. (A service manager must be told to leave them alone too: `KillMode=process` under systemd.)
 *
 *     RUNDIR/qemu.json   who it is: pid, start time, binary, arguments
 *     RUNDIR/qemu.pid    QEMU's own pid file, which it keeps locked: a second QEMU on the folder refuses to start
 *     RUNDIR/qemu.log    what QEMU and the guest's console wrote to stdout and stderr
 *     RUNDIR/qemu/       the sockets that it makes, of its own user where it has one (confinement-files.ts)
 *     RUNDIR/qemu/qmp.sock    QMP
 */

import { type ChildProcess, spawn } from "node:child_process";
import { open, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, OperationError } from "../errors.ts";
import { type Confinement, confinedCommand, unconfined } from "./confinement.ts";
import { checkReach, prepareRunFolder } from "./confinement-files.ts";
import { deferred } from "./deferred.ts";
import { processStartTime } from "./process-identity.ts";
import { findRecord, type QemuRecord, writeRecord } from "./process-record.ts";
import { QmpClient } from "./qmp-client.ts";
import { QmpTimeoutError } from "./qmp-messages.ts";
import { checkSocketPath, qemuFolder, qemuSocketPath } from "./unix-socket.ts";

/** How long a QEMU may take until its QMP answers, in milliseconds. */
const LAUNCH_TIMEOUT_MS = 30_000;
/**
 * Of the time in which QMP must answer, what the first connection may have; each later one has twice as much. While QEMU sets QMP up
 * two of its threads accept clients, and the one that finds the first client taken by the other waits for a second one: until
 * then it answers nobody (seen with 10.0: one start of thousands on a busy machine).
 */
const ATTEMPT_SHARE = 1 / 30;
const POLL_MS = 20;
/** A QEMU's QMP answers some tens of milliseconds after its start, which a restart should not miss by much. */
const EAGER_MS = 1_000;
const EAGER_POLL_MS = 2;
/** How often to look whether a QEMU that is not our child still lives. */
const WATCH_MS = 500;
const QUIT_GRACE_MS = 5_000;
const TERMINATE_GRACE_MS = 3_000;
const KILL_GRACE_MS = 1_000;
const LOG_TAIL_BYTES = 4096;

/** How a process ended; both are null where that cannot be known, since it was not our child. */
export interface QemuExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** A QEMU process with its control connection. */
export interface QemuProcess {
  readonly pid: number;
  /** See `processStartTime`. */
  readonly startTime: string;
  readonly qmp: QmpClient;
  readonly runDir: string;
  /** Resolves when the process is gone. Never rejects. Waiting for it does not keep Node alive; `quit` and `kill` do. */
  readonly exited: Promise<QemuExit>;
  /** Ends it: QMP `quit`, then SIGTERM, then SIGKILL. Resolves when the process is gone. */
  quit(): Promise<QemuExit>;
  /** Ends it at once with SIGKILL. Resolves when the process is gone. */
  kill(): Promise<QemuExit>;
  /** The end of what it wrote to its log, without line ends at its end and without control characters. */
  logTail(): Promise<string>;
}

/** Where the QMP socket of a folder is. Give it to `qemuArguments`. */
export function qmpSocketPath(runDir: string): string {
  return qemuSocketPath(runDir, "qmp.sock");
}

/**
 * Starts QEMU and waits until its QMP answers. `args` must make QMP listen at `qmpSocketPath(runDir)`;
 * a pid file is added. The folder is made, for us alone, and what QEMU makes is for its user alone.
 * Rejects with `OperationError` when QEMU cannot be started or ends at once; the message has the end of its log.
 */
export async function launchQemu(
  binary: string,
  args: readonly string[],
  options: {
    readonly runDir: string;
    readonly name: string;
    readonly timeoutMs?: number;
    /** `unconfined` by default. */
    readonly confinement?: Confinement;
  },
): Promise<QemuProcess> {
  const { name, confinement = unconfined } = options;
  const runDir = resolve(options.runDir);
  const qmpPath = qmpSocketPath(runDir);
  checkSocketPath(qmpPath);
  await prepareRunFolder(runDir, confinement.user);
  await checkReach(confinement, [{ path: qemuFolder(runDir), writable: true }]);
  const record = await findRecord(runDir);
  if (record !== null) {
    throw new OperationError(
      "failed",
      `Cannot launch QEMU for ${name}: process ${record.pid} still runs in ${runDir}`,
    );
  }
  await rm(qmpPath, { force: true });
  const pidFile = ["-pidfile", join(runDir, "qemu.pid")];
  const { command, prefix, args: allArguments } = confinedCommand(binary, [...args, ...pidFile], confinement);
  let exit: QemuExit | undefined;
  const exited = deferred<QemuExit>();
  const child = await spawnDetached(command, [...prefix, ...allArguments], runDir, name, (end) => {
    exit = end;
    exited.resolve(end);
  });
  const pid = child.pid!;
  try {
    const startTime = await processStartTime(pid);
    const record = startTime && writeRecord(runDir, { pid, startTime, binary, args: allArguments, name });
    const connecting = connectWhileAlive(qmpPath, () => exit, options.timeoutMs ?? LAUNCH_TIMEOUT_MS);
    // The disk and QEMU work side by side; neither is left behind when the other fails.
    const [recorded, connected] = await Promise.allSettled([record, connecting]);
    if (connected.status === "rejected") throw connected.reason;
    const qmp = connected.value;
    if (recorded.status === "rejected") throw recorded.reason;
    if (startTime === null) throw new Error("its start time cannot be read");
    child.unref();
    return makeProcess({ pid, startTime, qmp, runDir, exited: exited.promise });
  } catch (error) {
    if (exit === undefined) child.kill("SIGKILL");
    const ended = await exited.promise;
    const log = await readLogTail(runDir);
    const how =
      ended.signal === "SIGKILL" ? messageOf(error) : `it ended with ${ended.signal ?? `code ${ended.code}`}`;
    throw new OperationError(
      "failed",
      `Cannot launch QEMU for ${name}: ${how}${log === "" ? "" : `; ${log}`}`,
      {
        cause: error,
      },
    );
  }
}

/**
 * Finds the QEMU that was launched in a folder, perhaps by an agent that is dead now; null when none runs.
 * Rejects with `OperationError` when one runs but its QMP does not answer: then it is not known what the VM does.
 */
export async function adoptQemu(
  folder: string,
  options: { readonly timeoutMs?: number } = {},
): Promise<QemuProcess | null> {
  const runDir = resolve(folder);
  const record = await findRecord(runDir);
  if (record === null) return null;
  const timeoutMs = options.timeoutMs ?? LAUNCH_TIMEOUT_MS;
  const stop = new AbortController();
  const suspicion = deferred();
  const exited = watchStranger(record, suspicion.promise);
  exited.then(() => stop.abort());
  try {
    const qmp = await QmpClient.connect(qmpSocketPath(runDir), { timeoutMs, signal: stop.signal });
    qmp.closed.then(suspicion.resolve);
    return makeProcess({ pid: record.pid, startTime: record.startTime, qmp, runDir, exited });
  } catch (error) {
    if ((await processStartTime(record.pid)) !== record.startTime) return null;
    throw new OperationError(
      "failed",
      `Cannot adopt QEMU ${record.pid} in ${runDir}: it runs, but ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/**
 * Ends the QEMU that was launched in a folder, if one runs, with SIGKILL and without asking its QMP: for one that
 * must not run. Resolves with true when there was one and it is gone.
 */
export async function killQemu(folder: string): Promise<boolean> {
  const record = await findRecord(resolve(folder));
  if (record === null) return false;
  while ((await processStartTime(record.pid)) === record.startTime) {
    try {
      process.kill(record.pid, "SIGKILL");
    } catch {
      // It ended between the look and the signal.
    }
    await sleep(POLL_MS);
  }
  return true;
}

type ProcessParts = Pick<QemuProcess, "pid" | "startTime" | "qmp" | "runDir" | "exited">;

function makeProcess(parts: ProcessParts): QemuProcess {
  const { pid, startTime, qmp, runDir, exited } = parts;
  const signalIfSame = async (signal: NodeJS.Signals) => {
    if ((await processStartTime(pid)) !== startTime) return;
    try {
      process.kill(pid, signal);
    } catch {
      // It ended between the look and the signal.
    }
  };
  // The child and the watch are unreferenced: without a timer Node could end while we wait for them.
  const endsWithin = (ms: number) => {
    const timer = new AbortController();
    const late = sleep(ms, false, { signal: timer.signal }).catch(() => false);
    return Promise.race([exited.then(() => true), late]).finally(() => timer.abort());
  };
  const kill = async () => {
    await signalIfSame("SIGKILL");
    while (!(await endsWithin(KILL_GRACE_MS))) await signalIfSame("SIGKILL");
    qmp.close();
    return exited;
  };
  const quit = async () => {
    qmp.execute("quit").catch(() => {});
    if (await endsWithin(QUIT_GRACE_MS)) return exited;
    await signalIfSame("SIGTERM");
    if (await endsWithin(TERMINATE_GRACE_MS)) return exited;
    return kill();
  };
  return { ...parts, quit, kill, logTail: () => readLogTail(runDir) };
}

async function spawnDetached(
  binary: string,
  args: string[],
  runDir: string,
  name: string,
  onExit: (exit: QemuExit) => void,
): Promise<ChildProcess> {
  const logPath = join(runDir, "qemu.log");
  await rename(logPath, `${logPath}.old`).catch(() => {});
  const log = await open(logPath, "a", 0o600);
  try {
    // What QEMU makes is for its user alone. It starts before `spawn` returns, so that nothing of ours sees this mask.
    const mask = process.umask(0o077);
    const child = spawn(binary, args, { detached: true, stdio: ["ignore", log.fd, log.fd] });
    process.umask(mask);
    // At once: it may end before anything else here has its turn.
    child.once("exit", (code, signal) => onExit({ code, signal }));
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    return child;
  } catch (error) {
    throw new OperationError("failed", `Cannot launch QEMU for ${name}: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    await log.close();
  }
}

async function connectWhileAlive(
  path: string,
  exit: () => QemuExit | undefined,
  timeoutMs: number,
): Promise<QmpClient> {
  const began = Date.now();
  const deadline = began + timeoutMs;
  let attemptMs = timeoutMs * ATTEMPT_SHARE;
  for (;;) {
    if (exit() !== undefined) throw new Error("it ended before its QMP answered");
    const leftMs = deadline - Date.now();
    if (leftMs <= 0) throw new Error(`its QMP did not answer within ${timeoutMs} ms`);
    try {
      return await QmpClient.connect(path, { timeoutMs: Math.min(leftMs, attemptMs) });
    } catch (error) {
      if (error instanceof QmpTimeoutError) attemptMs *= 2;
      // The socket is not there yet, nobody answered, or QEMU ended: the next turn tells.
      await sleep(Date.now() - began < EAGER_MS ? EAGER_POLL_MS : POLL_MS);
    }
  }
}

/** Resolves when a process that is not our child is gone. Only its start time can tell; `suspicion` hurries it. */
async function watchStranger(record: QemuRecord, suspicion: Promise<void>): Promise<QemuExit> {
  let pollMs = WATCH_MS;
  suspicion.then(() => {
    pollMs = POLL_MS;
  });
  while ((await processStartTime(record.pid)) === record.startTime) {
    const turn = sleep(pollMs, undefined, { ref: false });
    await (pollMs === WATCH_MS ? Promise.race([turn, suspicion]) : turn);
  }
  return { code: null, signal: null };
}

async function readLogTail(runDir: string): Promise<string> {
  try {
    const log = await open(join(runDir, "qemu.log"), "r");
    try {
      const { size } = await log.stat();
      const lengthBytes = Math.min(size, LOG_TAIL_BYTES);
      const { buffer, bytesRead } = await log.read(
        Buffer.alloc(lengthBytes),
        0,
        lengthBytes,
        size - lengthBytes,
      );
      return printable(buffer.toString("utf8", 0, bytesRead)).trim();
    } finally {
      await log.close();
    }
  } catch {
    return "";
  }
}

/** The log has what the guest writes to a console on stdout: it must not steer the terminal that shows it. */
function printable(text: string): string {
  return text.replace(/(?![\n\t])\p{Cc}/gu, "");
}
