/**
 * Lets all contenders of a kernel take turns, so that whatever else the machine does meets them alike. A turn's time is
 * what the clock or the process's CPU time says, whichever is less: other programs' turns on our processor do not
 * count, and neither does what the platform does beside us on another one.
 */
import process from "node:process";
import type { Contest } from "./contenders.ts";
import type { BuildName, Twins } from "./native-twins.ts";

/** A turn lasts at least so long; shorter ones measure the clock. */
const turnMs = 15;
const peerTurnMs = 8;

/** GB/s of a kernel and its contenders, each in the best of its turns. Null: there is none, or it could not be built. */
export type Outcome = {
  readonly name: string;
  readonly gbps: number;
  readonly native: number | null;
  readonly ratioNative: number | null;
  /** The same C for this machine alone. */
  readonly tuned: number | null;
  readonly ratioTuned: number | null;
  readonly peer: string | null;
  readonly peerGbps: number | null;
  readonly ratioPeer: number | null;
  /** Of all peers. */
  readonly peers: Readonly<Record<string, number>>;
};

type Contender = { bytes: number; passes: number; best: number; turn(passes: number): Promise<number> };

/**
 * Measures one kernel in `rounds` rounds. Throws Error if a twin comes to another result: then one of both is wrong, and
 * no figure counts.
 */
export async function compete(contest: Contest, twins: readonly Twins[], rounds: number): Promise<Outcome> {
  const { name, bytes } = contest;
  let ours = 0n;
  const self = contender(bytes, (passes) => {
    for (let i = 0; i < passes; i++) ours = contest.run();
  });
  const natives = new Map<BuildName, Contender>(
    twins.map((twin) => [twin.build, twinContender(contest, twin, () => ours)]),
  );
  const peers = new Map(
    contest.peers.map((peer) => [peer.name, contender(peer.bytes, (passes) => repeat(passes, peer.run))]),
  );
  const all = [self, ...natives.values(), ...peers.values()];
  for (const each of all) await warmUp(each, each.bytes < bytes ? peerTurnMs : turnMs);
  for (let round = 0; round < rounds; round++) {
    for (const each of all) each.best = Math.min(each.best, (await each.turn(each.passes)) / each.passes);
  }
  const gbps = speed(self);
  const [native, tuned] = (["native", "tuned"] as const).map((build) => speedOrNull(natives.get(build)));
  const speeds = Object.fromEntries([...peers].map(([peer, each]) => [peer, speed(each)]));
  const [best] = Object.entries(speeds).sort(([, a], [, b]) => b - a);
  const ratio = (other: number | null | undefined) => (other ? gbps / other : null);
  return {
    name,
    gbps,
    native: native!,
    ratioNative: ratio(native),
    tuned: tuned!,
    ratioTuned: ratio(tuned),
    peer: best?.[0] ?? null,
    peerGbps: best?.[1] ?? null,
    ratioPeer: ratio(best?.[1]),
    peers: speeds,
  };
}

function twinContender(contest: Contest, twin: Twins, ours: () => bigint): Contender {
  return {
    bytes: contest.bytes,
    passes: 1,
    best: Number.POSITIVE_INFINITY,
    async turn(passes) {
      const { ms, result } = await twin.run(contest.twin, passes);
      if (contest.differs ? result === 0n : result !== ours()) {
        throw new Error(`Cannot compare ${contest.name}: C gives ${result}, the core ${ours()}`);
      }
      return ms;
    },
  };
}

function contender(bytes: number, run: (passes: number) => void): Contender {
  const turn = (passes: number) => {
    const [clock, cpu] = [performance.now(), process.cpuUsage()];
    run(passes);
    const { user, system } = process.cpuUsage(cpu);
    return Promise.resolve(Math.min(performance.now() - clock, (user + system) / 1000));
  };
  return { bytes, passes: 1, best: Number.POSITIVE_INFINITY, turn };
}

/** Runs once so that compilers are done and memory is there, then finds how many passes make a turn. */
async function warmUp(each: Contender, ms: number): Promise<void> {
  await each.turn(1);
  const once = await each.turn(1);
  each.passes = Math.max(1, Math.ceil(ms / once));
}

function repeat(passes: number, run: () => void): void {
  for (let i = 0; i < passes; i++) run();
}

function speed({ bytes, best }: Contender): number {
  return bytes / best / 1e6;
}

function speedOrNull(each: Contender | undefined): number | null {
  return each === undefined ? null : speed(each);
}
