/** The commands of the control interface: their requests' schemas and what they do. */

import { z } from "zod";
import { parseDefinition } from "../config/vm-definition.ts";
import { OperationError } from "../errors.ts";
import { divergencePolicies } from "../leg/divergence.ts";
import { chainOf } from "../store/generation-reader.ts";
import { Holders } from "../store/holders.ts";
import { isRestartable, newestRestartable } from "../store/restartable.ts";
import { prune } from "../store/retention.ts";
import { diskBytesOf } from "../store/vm-store.ts";
import { maxLinkTimeoutMs, maxStreams } from "../wan/messages.ts";
import type { Agent } from "./agent.ts";
import { describeBranches, removeBranch } from "./branch-list.ts";
import { copyVm, repeatedCopy } from "./copy.ts";
import { examine } from "./doctor.ts";
import { isFencingOpen } from "./fencing.ts";
import { lagOf } from "./lag.ts";
import { attachVm, startVm, stopVm } from "./lifecycle.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { defaultLinkTimeoutMs, migrate } from "./migrate.ts";
import { answerHistory, answerPrediction } from "./prediction-answer.ts";
import { recover } from "./recover.ts";
import { tidyInBackground } from "./tidy-images.ts";
import { reportTracking } from "./tracking-report.ts";

/** What a command works with. */
export interface CommandContext {
  readonly agent: Agent;
  /** Fires when the client goes away. */
  readonly signal: AbortSignal;
  /** Sends a line before the last one. */
  readonly send: (line: object) => void;
}

interface Command<T> {
  readonly body: z.ZodType<T>;
  /** Returns the last line. */
  readonly run: (context: CommandContext, body: T) => Promise<object>;
}

// Names are looked up, not trusted: an unknown one is "Cannot find VM", whatever it looks like.
const vm = z.string().min(1).max(255);
const count = z.int().positive();
/** The largest table that a plan is made of takes less. */
const maxTableCharacters = 900_000;
const givenLink = z
  .strictObject({
    rate: z.number().nullable(),
    rttMs: z.number().nullable(),
    loss: z.number().nullable(),
  })
  .default({ rate: null, rttMs: null, loss: null });

function command<T>(body: z.ZodType<T>, run: Command<T>["run"]): Command<unknown> {
  return { body, run: run as Command<unknown>["run"] };
}

/** All commands by name. */
export const commands: Readonly<Record<string, Command<unknown>>> = {
  list: command(z.strictObject({}), async ({ agent }) => ({
    event: "done",
    site: agent.config.site,
    vms: await Promise.all(agent.list().map((one) => describe(agent, one))),
  })),
  show: command(z.strictObject({ vm }), async ({ agent }, body) => {
    const found = agent.require(body.vm);
    const held = [...(await new Holders(found.store.path).list())].map(async ([site, id]) => {
      const held = await found.store.find(id);
      const seed = held !== null && !isRestartable(held);
      return [site, { ...id, seed, lagMs: await lagOf(found.store, site) }] as const;
    });
    const holders = Object.fromEntries(await Promise.all(held));
    const { definition } = found;
    const tracking = await reportTracking(found);
    return { event: "done", ...(await describe(agent, found)), definition, holders, tracking };
  }),
  define: command(z.strictObject({ text: z.string(), path: z.string() }), async ({ agent }, body) => {
    const defined = await agent.define(parseDefinition(body.text, body.path));
    return { event: "done", vm: defined.name };
  }),
  start: command(z.strictObject({ vm }), async ({ agent }, body) => {
    const { warning } = await startVm(agent, body.vm);
    return { event: "done", vm: body.vm, warning };
  }),
  stop: command(z.strictObject({ vm, force: z.boolean(), timeoutMs: count }), async ({ agent }, body) => {
    await stopVm(agent, body.vm, body.force, body.timeoutMs);
    return { event: "done", vm: body.vm };
  }),
  attach: command(z.strictObject({ vm, qmpPath: z.string().min(1) }), async ({ agent }, body) => {
    const { warning } = await attachVm(agent, body.vm, body.qmpPath);
    return { event: "done", vm: body.vm, warning };
  }),
  migrate: command(
    z.strictObject({
      vm,
      to: z.string().min(1).max(255),
      downtimeLimitMs: count,
      timeoutMs: count.nullable(),
      linkTimeoutMs: count.max(maxLinkTimeoutMs).default(defaultLinkTimeoutMs),
      bitsPerSecond: count.nullable(),
      onDivergence: z.enum(divergencePolicies).default("wait"),
      streams: count.max(maxStreams).default(1),
      link: givenLink,
    }),
    ({ agent, signal, send }, body) => migrate(agent, body, signal, send),
  ),
  predict: command(
    z.strictObject({
      vm,
      to: z.string().min(1).max(255),
      downtimeLimitMs: count,
      bitsPerSecond: count.nullable(),
      streams: count.max(maxStreams).default(1),
      link: givenLink,
      awayMs: count.nullable().default(null),
      when: z
        .strictObject({
          text: z.string().max(maxTableCharacters),
          path: z.string(),
          from: z.int().nullable(),
          until: z.int().nullable(),
        })
        .nullable()
        .default(null),
    }),
    ({ agent }, body) => answerPrediction(agent, body),
  ),
  predictions: command(z.strictObject({ vm }), ({ agent }, body) => answerHistory(agent, body.vm)),
  sync: command(
    z.strictObject({
      vm,
      to: z.string().min(1).max(255),
      downtimeLimitMs: count,
      timeoutMs: count.nullable(),
      linkTimeoutMs: count.max(maxLinkTimeoutMs).default(defaultLinkTimeoutMs),
      bitsPerSecond: count.nullable(),
      repeated: z.boolean().default(false),
      checkpoint: z.boolean().default(true),
    }),
    ({ agent, signal, send }, { repeated, checkpoint, ...body }) => {
      const request = { ...body, purpose: checkpoint ? "checkpoint" : "seed" } as const;
      return (repeated ? repeatedCopy : copyVm)(agent, request, signal, send);
    },
  ),
  cancel: command(z.strictObject({ vm }), async ({ agent }, body) => {
    const { activity } = agent.require(body.vm);
    activity?.cancel.abort();
    return { event: "done", vm: body.vm, cancelled: activity?.what ?? null };
  }),
  generations: command(z.strictObject({ vm }), async ({ agent }, body) => {
    const found = agent.require(body.vm);
    const { generations, unusable } = await found.store.list();
    const rows = generations.map(async (one) => ({
      generation: one.manifest.generation,
      root: one.manifest.root,
      seed: !isRestartable(one),
      base: one.manifest.base?.generation ?? null,
      from: one.manifest.from,
      to: one.manifest.to,
      createdAt: one.manifest.createdAt,
      ageMs: Date.now() - Date.parse(one.manifest.createdAt),
      chain: chainOf(one).length,
      diskBytes: await diskBytesOf(found.store, one),
    }));
    const { branches, unusable: unusableBranches } = await describeBranches(found.store);
    return {
      event: "done",
      vm: body.vm,
      generations: await Promise.all(rows),
      unusable: [...unusable, ...unusableBranches.map(({ path, reason }) => ({ directory: path, reason }))],
      branches,
    };
  }),
  prune: command(z.strictObject({ vm, keep: count }), async ({ agent }, body) => {
    const found = agent.require(body.vm);
    const removed = await found.doing("prune", async () => {
      const key = await agent.keys.read(body.vm);
      const numbers = await prune(agent.core, key, found.store, body.keep);
      await found.store.sweepImages();
      return numbers;
    });
    tidyInBackground(agent, found);
    return { event: "done", vm: body.vm, removed };
  }),
  prunebranch: command(z.strictObject({ vm, branch: z.string().max(255) }), async ({ agent }, body) => {
    const found = agent.require(body.vm);
    await found.doing("prune", () => removeBranch(found.store, body.branch));
    tidyInBackground(agent, found);
    return { event: "done", vm: body.vm, branch: body.branch };
  }),
  recover: command(
    z.strictObject({
      vm,
      generation: count.nullable(),
      branch: z.string().max(255).nullable().default(null),
      force: z.boolean(),
    }),
    async ({ agent }, body) => {
      const { generation, branch, force } = body;
      if (generation !== null && branch !== null) {
        throw new OperationError(
          "usage",
          `Cannot recover ${body.vm}: give a generation or a branch, not both`,
        );
      }
      return {
        event: "done",
        vm: body.vm,
        ...(await recover(agent, body.vm, { generation, branch, force })),
      };
    },
  ),
  doctor: command(z.strictObject({ vm }), async ({ agent }, body) => ({
    event: "done",
    ...(await examine(agent, agent.require(body.vm))),
  })),
};

/** The disks of a VM with the images that it writes to, or wrote to last, here; null where there are none yet. */
async function describeDisks({ store, definition }: ManagedVm): Promise<object[]> {
  // A damaged record is told by whatever needs it; a list must come all the same.
  const current = await store.images.current().then(
    ({ images }) => images,
    (): Record<string, string> => ({}),
  );
  return await Promise.all(
    definition.disks.map(async ({ id, bus, sizeBytes }) => {
      const image = current[id] ?? null;
      const chain = image === null ? [] : await store.images.chain(image).catch(() => []);
      return {
        id,
        bus,
        sizeBytes,
        image,
        file: chain[0] ? store.images.pathOf(chain[0]) : null,
        images: chain.length,
      };
    }),
  );
}

async function describe(agent: Agent, found: ManagedVm): Promise<object> {
  const record = await agent.ownership.read(found.name);
  const { generations } = await found.store.list();
  const newest = generations.at(-1);
  const { branches } = await found.store.branches.list();
  return {
    vm: found.name,
    ownership: record.state,
    epoch: record.epoch,
    peer: record.peer || null,
    running: found.qemu !== null,
    pid: found.qemu?.kind === "process" ? found.qemu.process.pid : null,
    qmp: found.qemu?.kind === "attached" ? found.qemu.qmpPath : null,
    memoryBytes: found.definition.memoryBytes,
    machine: found.definition.machine,
    newestGeneration: newestRestartable(generations)?.manifest.generation ?? null,
    newestSeed: newest && !isRestartable(newest) ? newest.manifest.generation : null,
    branches: branches.map(({ record: { name } }) => name),
    fencing: await isFencingOpen(found).catch(() => true),
    disks: await describeDisks(found),
    activity: found.activity && {
      what: found.activity.what,
      state: found.activity.state,
      progress: found.activity.progress,
    },
  };
}
