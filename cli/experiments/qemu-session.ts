/**
 * QEMU's own methods, one after the other with the same guest: the QEMU that it has come to is the next one's source.
 * A disk is mirrored first and as long as the migration takes.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DiskMirror } from "../demo/disk-mirror.ts";
import { forkLink } from "../demo/link-process.ts";
import { type PrecopyLink, type PrecopyVariant, runPrecopy } from "../demo/precopy.ts";
import { copyDataDisk, dataDiskBytes } from "./data-disk.ts";
import { heartbeatPath } from "./guest/experiment-guest.ts";
import { checkAge, GuestDriver } from "./guest-driver.ts";
import { diskNode, type LaunchedGuest, launchGuest } from "./guest-process.ts";
import { Heartbeat } from "./heartbeat.ts";
import { nonZeroShare } from "./memory-share.ts";
import { type Experiment, experimentName, type LinkShape, type Method } from "./plan.ts";
import { type Measured, recorded, type SessionContext } from "./session.ts";

const variants: Partial<Record<Method, PrecopyVariant>> = {
  precopy: "plain",
  xbzrle: "xbzrle",
  "multifd-zstd": "multifd-zstd",
};

/** What all runs of the session have in common. */
interface Running {
  readonly context: SessionContext;
  readonly heartbeat: Heartbeat;
  readonly nonZero: number;
}

/** Runs it; see `runSession`. */
export async function runQemuSession(
  experiments: readonly Experiment[],
  context: SessionContext,
): Promise<void> {
  const [{ workload, memoryMiB, age }] = experiments as [Experiment];
  const { guest, qemuBinary, signal, tell } = context;
  const socketFolder = await mkdtemp(join(tmpdir(), "bfmig-"));
  const heartbeat = new Heartbeat();
  const alive = new Set<LaunchedGuest>();
  let driver: GuestDriver | null = null;
  try {
    const disk = workload === "postgres" ? join(socketFolder, "q0.img") : null;
    if (disk !== null) await copyDataDisk(await context.dataDisk(), disk);
    const shape = { guest, qemuBinary, memoryMiB, socketFolder, disk };
    let source = await launchGuest(shape, "q0", false);
    alive.add(source);
    heartbeat.follow(heartbeatPath(source.consolePath));
    driver = await GuestDriver.boot(source.consolePath, experiments[0] as Experiment, tell, signal);
    await driver.prepare(tell);
    const nonZero = await nonZeroShare(source.qemu.qmp, source.memoryBytes, socketFolder);
    checkAge(age, nonZero);
    const running = { context, heartbeat, nonZero };
    for (const [i, experiment] of experiments.entries()) {
      signal.throwIfAborted();
      tell(experimentName(experiment));
      const diskBytes = disk === null ? 0 : dataDiskBytes;
      const destination = await launchGuest(shape, `q${i + 1}`, { diskBytes });
      alive.add(destination);
      heartbeat.follow(heartbeatPath(destination.consolePath));
      const record = await recorded(experiment, () => measure(running, experiment, source, destination));
      const left = record.converged ? source : destination;
      await left.qemu.kill();
      alive.delete(left);
      if (left.disk !== null) await rm(left.disk, { force: true });
      if (record.converged) {
        source = destination;
        await driver.follow(source.consolePath);
      }
      await driver.worked();
      await context.onRecord(record);
    }
  } finally {
    driver?.close();
    await heartbeat.close();
    await Promise.allSettled([...alive].map(({ qemu }) => qemu.kill()));
    await rm(socketFolder, { recursive: true, force: true });
  }
}

async function measure(
  { context, heartbeat, nonZero }: Running,
  experiment: Experiment,
  source: LaunchedGuest,
  destination: LaunchedGuest,
): Promise<Measured> {
  const diskBytes = source.disk === null ? 0 : dataDiskBytes;
  const links = new CountedLinks(experiment.link);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), context.giveUpMs(experiment, diskBytes));
  const signal = AbortSignal.any([context.signal, late.signal]);
  await heartbeat.begin(heartbeatPath(source.consolePath));
  const startMs = performance.now();
  const common = {
    memoryBytes: source.memoryBytes,
    nonZeroShare: nonZero,
    diskBytes,
    predicted: null,
    changedShare: null,
    qemuVersion: source.qemu.qmp.version.join("."),
  };
  let mirror: DiskMirror | null = null;
  try {
    const ends = { source: source.qemu.qmp, destination: destination.qemu.qmp, signal };
    const openLink = (host: string, port: number) => links.open(host, port);
    if (source.disk !== null) mirror = await DiskMirror.copy({ ...ends, openLink, node: diskNode });
    const mirrorMs = performance.now() - startMs;
    const mirrored = mirror;
    const result = await runPrecopy({
      ...ends,
      openLink,
      downtimeLimitMs: context.downtimeLimitMs,
      variant: variants[experiment.method] ?? "plain",
      ...(mirrored !== null && { beforeSwitchover: () => mirrored.finish() }),
    });
    const gapMs = await heartbeat.end(heartbeatPath(destination.consolePath));
    await mirror?.close();
    mirror = null;
    return {
      ...common,
      totalMs: Math.round((source.disk === null ? 0 : mirrorMs) + result.totalMs),
      downtimeMs: Math.round(result.stopToRunMs),
      gapMs: Math.round(gapMs),
      wireBytes: links.bytes,
      converged: true,
    };
  } catch (error) {
    context.signal.throwIfAborted();
    if (!late.signal.aborted) throw error;
    const totalMs = Math.round(performance.now() - startMs);
    await mirror?.cancel();
    const gapMs = Math.round(await heartbeat.end(heartbeatPath(source.consolePath)));
    return { ...common, totalMs, downtimeMs: 0, gapMs, wireBytes: links.bytes, converged: false };
  } finally {
    clearTimeout(timer);
    await mirror?.close();
  }
}

/** Links whose bytes are counted until they are closed, by whoever. */
class CountedLinks {
  bytes = 0;
  private readonly shape: LinkShape;

  constructor({ bitsPerSecond, rttMs }: LinkShape) {
    this.shape = { bitsPerSecond, rttMs };
  }

  async open(targetHost: string, targetPort: number): Promise<PrecopyLink> {
    const { bitsPerSecond, rttMs } = this.shape;
    const link = await forkLink({
      targetHost,
      targetPort,
      rateBitsPerSecond: bitsPerSecond,
      oneWayDelayMs: rttMs / 2,
    });
    let isClosed = false;
    const close = async () => {
      if (isClosed) return;
      isClosed = true;
      try {
        const { aToB, bToA } = await link.stats();
        this.bytes += aToB + bToA;
      } finally {
        await link.close();
      }
    };
    return { host: link.host, port: link.port, stats: () => link.stats(), close };
  }
}
