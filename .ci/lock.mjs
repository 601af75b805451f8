/**
 * A lock between processes of one machine: a folder that holds one empty file named for the owner's process id.
 *
 *   mkdir FOLDER, then create FOLDER/<pid>     take it
 *   unlink FOLDER/<pid>, then rmdir FOLDER     give it back
 *
 * Whoever finds a dead owner's file deletes it. Only one process can succeed in that, so only one takes over.
 */
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { Failure } from "./failure.mjs";

const RETRY_MS = 200;
/** How long a lock may lack its owner's file: creating it takes far less, unless the owner died in between. */
const NAMELESS_LIMIT_MS = 10_000;
const WAIT_LIMIT_MS = 30 * 60_000;

/**
 * Runs `work` while no other process holds the lock `folder`, and gives back what it returns.
 * `onWait(ownerPid)` is called once if another process has it.
 */
export async function withLock(folder, onWait, work) {
  const release = await acquire(folder, onWait);
  try {
    return await work();
  } finally {
    release();
  }
}

async function acquire(folder, onWait) {
  const deadline = Date.now() + WAIT_LIMIT_MS;
  let announced = false;
  try {
    mkdirSync(dirname(folder), { recursive: true });
    accessSync(dirname(folder), constants.W_OK);
  } catch (error) {
    throw new Failure(`Cannot lock ${folder}: ${error.message}`);
  }
  while (!tryAcquire(folder)) {
    const owner = ownerOf(folder);
    if (owner !== undefined && !announced) {
      onWait(owner);
      announced = true;
    }
    if (Date.now() > deadline) throw new Failure(`Cannot lock ${folder}: process ${owner} still holds it`);
    await new Promise((wake) => setTimeout(wake, RETRY_MS));
  }
  return () => {
    unlinkSync(join(folder, String(process.pid)));
    rmdirSync(folder);
  };
}

function tryAcquire(folder) {
  if (ignoring("EEXIST", () => mkdirSync(folder))) return claim(folder);
  const owner = ownerOf(folder);
  if (owner === undefined) return removeNameless(folder) && tryAcquire(folder);
  if (isAlive(owner)) return false;
  return ignoring("ENOENT", () => unlinkSync(join(folder, String(owner)))) && claim(folder);
}

function claim(folder) {
  return ignoring("ENOENT", () => writeFileSync(join(folder, String(process.pid)), "", { flag: "wx" }));
}

/** Removes a lock whose owner died before it wrote its file. */
function removeNameless(folder) {
  try {
    if (Date.now() - statSync(folder).mtimeMs < NAMELESS_LIMIT_MS) return false;
    rmdirSync(folder);
    return true;
  } catch {
    return false; // Somebody else removed or claimed it: look again later.
  }
}

function ownerOf(folder) {
  try {
    const name = readdirSync(folder)[0];
    return name === undefined ? undefined : Number(name);
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Whether `action` went through; false if it failed with `code`. */
function ignoring(code, action) {
  try {
    action();
    return true;
  } catch (error) {
    if (error.code === code) return false;
    throw error;
  }
}
