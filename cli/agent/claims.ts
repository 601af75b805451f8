/**
 * What sites tell each other of who may run a VM, each time they connect and after a forced recovery. A site whose
 * ownership another site's claim overrules must stop: fencing.ts.
 *
 *     dialling site                        listening site
 *     claims  records of VMs  ───────────►
 *             ◄───────────────────────────  claimed  its records of the same VMs
 *
 * Only VMs that the peer may send or receive are told, and only about these it is listened to.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { mayMove } from "../config/permissions.ts";
import { messageOf } from "../errors.ts";
import { type Claimed, learned, maxEpoch, overrules } from "../store/overruling.ts";
import type { PeerConnection } from "../wan/connection.ts";
import { type Claim, type MessageOf, maxClaims } from "../wan/messages.ts";
import type { Agent } from "./agent.ts";
import { concede, holdsNewest } from "./concede.ts";
import { fence, finishFencing, isFencingOpen } from "./fencing.ts";
import type { ManagedVm } from "./managed-vm.ts";

const answerTimeoutMs = 3_000;
const retryFirstMs = 2_000;
const retryLastMs = 30_000;

/** What a peer said when it was asked. */
export interface PeerAnswer {
  readonly site: string;
  /** Its claims; null if it could not be asked. */
  readonly claims: readonly Claim[] | null;
  /** Why it could not be asked; empty if it could. */
  readonly problem: string;
}

/** What one site says of one VM. */
export interface HeardClaim extends Claimed {
  readonly site: string;
}

/** The listening side: answers with this site's records of the VMs that are named, then acts on what the peer said. */
export async function answerClaims(
  agent: Agent,
  connection: PeerConnection,
  message: MessageOf<"claims">,
): Promise<void> {
  const { site } = connection;
  const known: ManagedVm[] = [];
  for (const { vm: name } of message.claims) {
    const vm = agent.find(name);
    if (vm && concerns(agent, site, name)) known.push(vm);
  }
  connection.send({ type: "claimed", claims: await Promise.all(known.map((vm) => claimOf(agent, vm))) });
  await consider(agent, site, message.claims);
}

/** The dialling side, on a connection that nothing else uses yet: tells, hears, and acts. Throws OperationError. */
export async function exchangeClaims(agent: Agent, connection: PeerConnection): Promise<void> {
  let claims: readonly Claim[];
  try {
    claims = await ask(agent, connection);
  } catch (error) {
    connection.close();
    throw error;
  }
  await consider(agent, connection.site, claims);
}

/** Asks all peers, or those that a VM concerns, at once. Acts on nothing. Never rejects. */
export async function askPeers(agent: Agent, vm: ManagedVm | null = null): Promise<PeerAnswer[]> {
  const sites = Object.keys(agent.config.peers).filter(
    (site) => vm === null || concerns(agent, site, vm.name),
  );
  return await Promise.all(sites.map((site) => askPeer(agent, site, vm === null ? agent.list() : [vm])));
}

/** What was heard of one VM, from sites that it concerns. */
export function heardOf(agent: Agent, vm: ManagedVm, answers: readonly PeerAnswer[]): HeardClaim[] {
  return answers.flatMap(({ site, claims }) => {
    const claim = claims?.find((one) => one.vm === vm.name);
    if (!claim || claim.epoch > maxEpoch || !concerns(agent, site, vm.name)) return [];
    return [{ site, state: claim.state, epoch: claim.epoch }];
  });
}

/** The claim that overrules this site's ownership of a VM; null if none does. */
export async function findOverruling(
  agent: Agent,
  vm: ManagedVm,
  answers: readonly PeerAnswer[],
): Promise<HeardClaim | null> {
  const record = await agent.ownership.read(vm.name);
  const against = heardOf(agent, vm, answers).filter((claim) => overrules(claim, record, agent.config.site));
  return against.sort((a, b) => b.epoch - a.epoch)[0] ?? null;
}

/**
 * Tells all peers that a VM concerns what this site's record says, again and again until each has heard it once or the
 * record has changed.
 */
export async function tellPeers(agent: Agent, vm: ManagedVm, except: string | null = null): Promise<void> {
  const { state, epoch } = await agent.ownership.read(vm.name);
  const tell = async (site: string) => {
    for (let waitMs = retryFirstMs; !agent.ending.aborted; waitMs = Math.min(2 * waitMs, retryLastMs)) {
      const answer = await askPeer(agent, site, [vm]);
      if (answer.claims) return await consider(agent, site, answer.claims);
      await sleep(waitMs, undefined, { signal: agent.ending, ref: false }).catch(() => {});
      const now = await agent.ownership.read(vm.name);
      if (now.state !== state || now.epoch !== epoch) return;
    }
  };
  const sites = Object.keys(agent.config.peers).filter(
    (site) => site !== except && concerns(agent, site, vm.name),
  );
  await Promise.all(sites.map(tell));
}

/** True if what a peer says of a VM counts here: it may send it or receive it. */
function concerns({ config }: Agent, site: string, vm: string): boolean {
  return mayMove(config.peers, site, vm);
}

async function claimOf(agent: Agent, vm: ManagedVm): Promise<Claim> {
  const { state, epoch } = await agent.ownership.read(vm.name);
  return { vm: vm.name, state, epoch, leg: vm.activity?.leg ?? null };
}

async function ask(
  agent: Agent,
  connection: PeerConnection,
  vms: readonly ManagedVm[] = agent.list(),
): Promise<Claim[]> {
  const told = vms.filter(({ name }) => concerns(agent, connection.site, name));
  const heard: Claim[] = [];
  for (let first = 0; first < told.length; first += maxClaims) {
    const some = told.slice(first, first + maxClaims);
    connection.send({ type: "claims", claims: await Promise.all(some.map((vm) => claimOf(agent, vm))) });
    heard.push(...(await connection.expect("claimed", answerTimeoutMs)).claims);
  }
  return heard;
}

async function askPeer(agent: Agent, site: string, vms: readonly ManagedVm[]): Promise<PeerAnswer> {
  const late = new AbortController();
  const tooLate = sleep(answerTimeoutMs, null, { signal: late.signal }).catch(() => null);
  // Whatever connection is ready may be dead.
  const connecting = agent.dialPeer(site);
  try {
    const connection = await Promise.race([connecting, tooLate]);
    if (connection === null) {
      connecting.then((one) => one.close()).catch(() => {});
      return { site, claims: null, problem: `no connection within ${answerTimeoutMs} ms` };
    }
    try {
      return { site, claims: await ask(agent, connection, vms), problem: "" };
    } finally {
      connection.close();
    }
  } catch (error) {
    return { site, claims: null, problem: messageOf(error) };
  } finally {
    late.abort();
  }
}

/** Acts on a peer's claims. What takes long goes on in the background. */
async function consider(agent: Agent, site: string, claims: readonly Claim[]): Promise<void> {
  const counted = claims.filter(({ vm }) => concerns(agent, site, vm));
  if (counted.length < claims.length) {
    agent.log.warn({ peer: site }, "ignored what a peer says of VMs that it may neither send nor receive");
  }
  agent.arrivals.peerClaims(site, counted);
  for (const claim of counted) {
    const vm = agent.find(claim.vm);
    if (vm) await weigh(agent, vm, { site, state: claim.state, epoch: claim.epoch });
  }
}

async function weigh(agent: Agent, vm: ManagedVm, claim: HeardClaim): Promise<void> {
  const record = await agent.ownership.read(vm.name);
  if (record.state === "owned" && overrules(claim, record, agent.config.site)) {
    agent.background(`Fencing ${vm.name}`, async () => {
      await fence(agent, vm, claim);
    });
  } else if (record.state === "released") {
    // Keeping a branch takes long.
    if (await holdsNewest(vm, record))
      agent.background(`Fencing ${vm.name}`, () => concede(agent, vm, claim));
    else await concede(agent, vm, claim);
  } else if (record.state === "away" && (await isFencingOpen(vm))) {
    agent.background(`Fencing ${vm.name}`, () => finishFencing(agent, vm));
  } else if (vm.activity === null && learned(claim, record) !== null) {
    await learn(agent, vm, claim);
  }
}

/** Keeps what a peer knows better, and passes it on: a site that is cut off from the owner hears of it this way. */
async function learn(agent: Agent, vm: ManagedVm, claim: HeardClaim): Promise<void> {
  const isNews = await vm.exclusively(async () => {
    const newer = learned(claim, await agent.ownership.read(vm.name));
    if (newer) await agent.ownership.write(newer);
    return newer !== null;
  });
  if (isNews) agent.background(`Passing on who has ${vm.name}`, () => tellPeers(agent, vm, claim.site));
}
