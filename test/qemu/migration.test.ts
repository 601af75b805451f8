/** Source and destination with real QEMUs: the stream goes through our two sockets, and we answer for both. */

import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { IncomingMigration, startIncoming } from "../../cli/qemu/incoming-migration.ts";
import { queryMigration } from "../../cli/qemu/migration-info.ts";
import { OutgoingMigration, startOutgoing } from "../../cli/qemu/outgoing-migration.ts";
import type { QemuProcess } from "../../cli/qemu/process.ts";
import { isRunning } from "../../cli/qemu/qmp-client.ts";
import { saveGuestMemory } from "../../cli/qemu/ram.ts";
import { launchTestQemu, MEMORY_BYTES } from "./qemu-fixture.ts";

const socketOf = (qemu: QemuProcess) => join(qemu.runDir, "m.sock");

function launchWaiting(t: Test, extra: string[] = []): Promise<QemuProcess> {
  return launchTestQemu(t, { incoming: true, paused: true, extra: ["-net", "none", ...extra] });
}

/** A migration whose bytes nobody wants. */
async function startSink(source: QemuProcess, onData: (chunk: Buffer) => void = () => {}) {
  return startOutgoing(source.qmp, { socketPath: socketOf(source), onData });
}

/** Takes a whole stream up to its vmdescription. QEMU does not close it: it waits for our SHUT. */
async function takeWholeStream(
  source: QemuProcess,
): Promise<{ outgoing: OutgoingMigration; stream: Buffer }> {
  const chunks: Buffer[] = [];
  const outgoing = await startSink(source, (chunk) => void chunks.push(chunk));
  await outgoing.preSwitchover;
  await outgoing.continueSwitchover();
  for (;;) {
    const stream = Buffer.concat(chunks);
    if (endsWithDescription(stream)) return { outgoing, stream };
    await sleep(20);
  }
}

/** `00 06 be32 len, JSON` up to the last byte. */
function endsWithDescription(stream: Buffer): boolean {
  for (let at = stream.indexOf("0006", 0, "hex"); at >= 0; at = stream.indexOf("0006", at + 1, "hex")) {
    if (at + 6 < stream.length && at + 6 + stream.readUInt32BE(at + 2) === stream.length) return true;
  }
  return false;
}

t.test(
  "a VM passes through both sockets, byte for byte, and runs at the destination only when told",
  async (t) => {
    const source = await launchTestQemu(t);
    const destination = await launchWaiting(t);
    const { logTail } = destination;
    const incoming = await startIncoming(destination.qmp, { socketPath: socketOf(destination), logTail });
    t.ok(incoming instanceof IncomingMigration);
    let bytes = 0;
    let waits = 0;
    const outgoing = await startSink(source, (chunk) => {
      bytes += chunk.length;
      const written = incoming.write(chunk);
      if (written === true) return;
      waits++;
      outgoing.pause();
      written.then(() => outgoing.resume());
    });
    t.ok(outgoing instanceof OutgoingMigration);
    outgoing.answerPong(1);
    await outgoing.preSwitchover;
    t.equal(outgoing.status, "pre-switchover");
    t.equal(await isRunning(source.qmp), false);
    t.ok((outgoing.stoppedAt ?? 0) > 0);
    const info = await outgoing.query();
    t.equal(info.status, "pre-switchover");
    t.ok((info.ram?.totalBytes ?? 0) >= MEMORY_BYTES);
    t.ok((info.ram?.dirtySyncCount ?? 0) >= 1);
    await outgoing.continueSwitchover();
    await incoming.completed;
    t.equal(outgoing.status, "device", "the source waits for our word");
    t.equal(await isRunning(destination.qmp), false);
    outgoing.answerShut(0);
    await outgoing.completed;
    await outgoing.ended;
    t.ok(bytes > 100_000);
    t.comment(`${bytes} bytes, ${waits} waits for the destination`);
    t.equal((await queryMigration(source.qmp)).status, "completed");
    t.equal((await source.qmp.execute<{ status: string }>("query-status")).status, "postmigrate");
    await t.rejects(outgoing.abort(), { name: "OperationError", message: /already told that it succeeded/ });

    const sourceRam = join(source.runDir, "ram");
    const destinationRam = join(destination.runDir, "ram");
    await saveGuestMemory(source.qmp, sourceRam, MEMORY_BYTES);
    await saveGuestMemory(destination.qmp, destinationRam, MEMORY_BYTES);
    t.equal((await stat(sourceRam)).mode & 0o777, 0o600);
    t.ok((await readFile(sourceRam)).equals(await readFile(destinationRam)), "RAM is equal");

    await destination.qmp.execute("cont");
    t.equal(await isRunning(destination.qmp), true);
  },
);

t.test("a VM that was let go can still be continued at the source", async (t) => {
  const source = await launchTestQemu(t);
  const { outgoing } = await takeWholeStream(source);
  t.equal(outgoing.status, "device");
  outgoing.answerShut(0);
  await outgoing.completed;
  await source.qmp.execute("cont");
  t.equal(await isRunning(source.qmp), true);
  const again = await startSink(source);
  await again.preSwitchover;
  await again.abort();
  t.equal(await isRunning(source.qmp), true, "and migrated again");
});

t.test("SHUT 1 fails the migration and the VM runs on", async (t) => {
  const source = await launchTestQemu(t);
  const { outgoing } = await takeWholeStream(source);
  outgoing.answerShut(1);
  t.type(await outgoing.failed, "string");
  await t.rejects(outgoing.completed, { name: "OperationError", message: /^Migration failed at the source/ });
  await outgoing.abort();
  t.equal(await isRunning(source.qmp), true);
});

t.test("an aborted migration leaves the VM running, whenever it is aborted", async (t) => {
  const source = await launchTestQemu(t);
  const { qmp } = source;
  const paused = await startSink(source, () => paused.pause());
  await paused.abort();
  t.match(paused.status, /^(failed|cancelled)$/, "in mid-stream, unread");
  t.equal(await isRunning(qmp), true);
  t.type(await paused.failed, "string");
  await t.rejects(paused.preSwitchover, { name: "OperationError" });
  t.throws(() => paused.answerPong(1), { name: "OperationError", message: /closed/ });

  const waiting = await startSink(source);
  await waiting.preSwitchover;
  await waiting.abort();
  t.match(waiting.status, /^(failed|cancelled)$/, "in pre-switchover");
  t.equal(await isRunning(qmp), true);

  const { outgoing: sent } = await takeWholeStream(source);
  await Promise.all([sent.abort(), sent.abort()]);
  t.match(sent.status, /^(failed|cancelled)$/, "after everything was sent");
  t.equal(await isRunning(qmp), true);
});

t.test("an abort frees a QEMU that is stuck with its last pages, nobody reading", async (t) => {
  const source = await launchTestQemu(t);
  const { qmp } = source;
  const outgoing = await startOutgoing(qmp, {
    socketPath: socketOf(source),
    // QEMU is slow and may stop the VM at once: most RAM is left for the time after the stop.
    maxBandwidthBytesPerSecond: 1_000_000,
    downtimeLimitMs: 2_000_000,
    onData: () => {},
  });
  await outgoing.preSwitchover;
  const left = (await outgoing.query()).ram?.remainingBytes ?? 0;
  t.ok(left > 1024 * 1024, "more is left than socket buffers hold");
  outgoing.pause();
  // Its answer may only come after the abort: QEMU holds its main lock while nobody reads.
  const continued = qmp.execute("migrate-continue", { state: "pre-switchover" });
  await sleep(200);
  await outgoing.abort();
  await continued;
  t.match(outgoing.status, /^(failed|cancelled)$/);
  t.equal(await isRunning(qmp), true);
});

t.test("a VM that was paused stays paused after an abort", async (t) => {
  const source = await launchTestQemu(t, { paused: true });
  const outgoing = await startSink(source);
  await outgoing.preSwitchover;
  await outgoing.abort();
  t.equal(await isRunning(source.qmp), false);
});

t.test("an error of who takes the stream aborts the migration with that error", async (t) => {
  const source = await launchTestQemu(t);
  const problem = new Error("page out of range");
  const outgoing = await startSink(source, () => {
    throw problem;
  });
  t.equal(await outgoing.failed, "page out of range");
  await t.rejects(outgoing.completed, { cause: problem });
  await outgoing.abort();
  t.equal(await isRunning(source.qmp), true);
});

t.test("the rate and the downtime can be set while a migration is open", async (t) => {
  const source = await launchTestQemu(t);
  const outgoing = await startSink(source, () => outgoing.pause());
  t.equal(outgoing.stoppedAt, null);
  await outgoing.setMaxBandwidth(40 * 1024);
  await outgoing.setDowntimeLimit(250);
  const parameters = await source.qmp.execute("query-migrate-parameters");
  t.match(parameters, { "max-bandwidth": 40 * 1024, "downtime-limit": 250 });
  const second = startOutgoing(source.qmp, {
    socketPath: join(source.runDir, "second.sock"),
    onData: () => {},
  });
  await t.rejects(
    second,
    { name: "OperationError", message: /QEMU has one already/ },
    "and no second one begins",
  );
  t.match((await outgoing.query()).status, /^(setup|active)$/);
  t.match(
    await source.qmp.execute("query-migrate-parameters"),
    { "downtime-limit": 250 },
    "nor touches the first",
  );
  await outgoing.abort();
});

t.test("a QEMU that dies in mid-stream fails the migration", async (t) => {
  const source = await launchTestQemu(t);
  const outgoing = await startSink(source, () => outgoing.pause());
  await source.kill();
  t.match(await outgoing.failed, /control connection/);
  await outgoing.ended;
  await outgoing.abort();
});

t.test("QEMU refuses to migrate with a device that cannot, and the VM runs on", async (t) => {
  const source = await launchTestQemu(t, {
    extra: ["-net", "none", "-device", "nvme,serial=1"],
  });
  await t.rejects(startSink(source), { name: "QmpError", message: /non-migratable/ });
  t.equal(await isRunning(source.qmp), true);
});

t.test("a stream that QEMU cannot load is reported with QEMU's words", async (t) => {
  const destination = await launchWaiting(t);
  const { qmp, logTail } = destination;
  const incoming = await startIncoming(qmp, { socketPath: socketOf(destination), logTail });
  incoming.write(Buffer.alloc(64, 0x55));
  incoming.end();
  await t.rejects(incoming.completed, {
    name: "OperationError",
    message: /^Cannot load the migration stream: .*Not a migration stream/s,
  });
  await t.rejects(Promise.resolve(incoming.write(Buffer.alloc(8))), {
    name: "OperationError",
    message: /lost/,
  });
});

t.test("a stream that is cut is reported", async (t) => {
  const destination = await launchWaiting(t);
  const { qmp, logTail } = destination;
  const incoming = await startIncoming(qmp, { socketPath: socketOf(destination), logTail });
  incoming.write(Buffer.from("5145564d00000003", "hex"));
  incoming.abort();
  await t.rejects(incoming.completed, {
    name: "OperationError",
    message: /^Cannot load the migration stream/,
  });
});

t.test("bytes may be reused after true or after the promise, however slow QEMU is", async (t) => {
  const source = await launchTestQemu(t);
  const destination = await launchWaiting(t);
  const { qmp, logTail } = destination;
  const incoming = await startIncoming(qmp, { socketPath: socketOf(destination), logTail });
  const { outgoing, stream } = await takeWholeStream(source);
  const window = new Uint8Array(1024 * 1024);
  for (let at = 0; at < stream.length; at += window.length) {
    const part = stream.subarray(at, at + window.length);
    window.set(part);
    const written = incoming.write(window.subarray(0, part.length));
    if (written !== true) await written;
    window.fill(0xee);
  }
  await incoming.completed;
  outgoing.answerShut(0);
  await outgoing.completed;
});

t.test("a VM that runs after the load is stopped and refused", async (t) => {
  const source = await launchTestQemu(t);
  const destination = await launchTestQemu(t, { incoming: true });
  const incoming = await startIncoming(destination.qmp, { socketPath: socketOf(destination) });
  const outgoing = await startSink(source, (chunk) => void incoming.write(chunk));
  await outgoing.preSwitchover;
  await outgoing.continueSwitchover();
  await t.rejects(incoming.completed, { message: /start its QEMU with -S/ });
  t.equal(await isRunning(destination.qmp), false);
  await outgoing.abort();
  t.equal(await isRunning(source.qmp), true);
});

t.test("more guest memory than lies in one piece is not saved", async (t) => {
  const { qmp, runDir } = await launchTestQemu(t);
  await t.rejects(saveGuestMemory(qmp, join(runDir, "ram"), 2 * 1024 ** 3 + 1), RangeError);
  await t.rejects(saveGuestMemory(qmp, join(runDir, "ram"), 0), RangeError);
  await saveGuestMemory(qmp, join(runDir, "ram"), 4096);
  await t.rejects(saveGuestMemory(qmp, join(runDir, "ram"), 4096), { code: "EEXIST" });
});
