import t from "tap";
import {
  decodeMigrationInfo,
  isFinal,
  neutralThrottle,
  queryMigration,
  setCapabilities,
  setOutgoingParameters,
  setThrottle,
} from "../../cli/qemu/migration-info.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { fakeQmpServer } from "./fake-qmp-server.ts";

/** A QMP whose answers are fixed by command; `sent` collects what was executed. */
async function fixedAnswers(test: Parameters<typeof fakeQmpServer>[0], answers: Record<string, unknown>) {
  const sent: { execute: string; arguments?: unknown }[] = [];
  const path = await fakeQmpServer(test, (line, socket) => {
    const { id, ...command } = JSON.parse(line);
    sent.push(command);
    socket.write(`${JSON.stringify({ return: answers[command.execute] ?? {}, id })}\n`);
  });
  const qmp = await QmpClient.connect(path);
  test.teardown(() => qmp.close());
  return { qmp, sent };
}

t.test("wanted capabilities are turned on, left-over ones off, unknown wishes left alone", async (t) => {
  const { qmp, sent } = await fixedAnswers(t, {
    "query-migrate-capabilities": [
      { capability: "events", state: false },
      { capability: "return-path", state: true },
      { capability: "xbzrle", state: true },
      { capability: "multifd", state: false },
    ],
  });
  await setCapabilities(qmp, { required: ["events", "return-path"], wished: ["late-block-activate"] });
  const capabilities = [
    { capability: "events", state: true },
    { capability: "xbzrle", state: false },
  ];
  t.same(sent[1], { execute: "migrate-set-capabilities", arguments: { capabilities } });
  await t.rejects(setCapabilities(qmp, { required: ["events", "pause-before-switchover"] }), {
    name: "OperationError",
    message: "Cannot migrate: this QEMU lacks the capability pause-before-switchover",
  });
});

t.test("parameters that somebody left are put back where QEMU has them", async (t) => {
  const { qmp, sent } = await fixedAnswers(t, {
    "query-migrate-parameters": { "tls-creds": "tls0", "tls-hostname": "", mode: "cpr-reboot" },
  });
  await setOutgoingParameters(qmp, { downtimeLimitMs: 1, maxBandwidthBytesPerSecond: 1e9 });
  t.same(sent[1]?.arguments, { "tls-creds": "", mode: "normal", "downtime-limit": 1, "max-bandwidth": 1e9 });
});

t.test("query-migrate is decoded, and says none where there was none", async (t) => {
  const { qmp } = await fixedAnswers(t, {});
  const nothing = {
    status: "none",
    errorDescription: null,
    totalMs: null,
    downtimeMs: null,
    expectedDowntimeMs: null,
    throttlePercent: 0,
    ram: null,
  };
  t.same(await queryMigration(qmp), nothing);
  t.same(decodeMigrationInfo(null), nothing);
  const ram = {
    remaining: 4096,
    transferred: 5,
    total: 8192,
    "page-size": 4096,
    "dirty-pages-rate": 3,
    mbps: 1.5,
  };
  t.same(decodeMigrationInfo({ status: "active", "total-time": 7, "expected-downtime": 9, ram }), {
    ...nothing,
    status: "active",
    totalMs: 7,
    expectedDowntimeMs: 9,
    ram: {
      remainingBytes: 4096,
      transferredBytes: 5,
      totalBytes: 8192,
      pageSizeBytes: 4096,
      dirtyPagesPerSecond: 3,
      dirtySyncCount: 0,
      mbps: 1.5,
      zeroPages: 0,
      normalPages: 0,
      sentBytes: 0,
    },
  });
});

t.test(
  "pages that were sent are counted in bytes of memory, and a guest that is slowed down is seen",
  async (t) => {
    const ram = { duplicate: 3, normal: 2, "page-size": 4096 };
    const info = decodeMigrationInfo({ status: "active", "cpu-throttle-percentage": 20, ram });
    t.equal(info.throttlePercent, 20);
    t.match(info.ram, { zeroPages: 3, normalPages: 2, sentBytes: 5 * 4096 });
  },
);

t.test("how the guest is slowed down is told as QEMU names it", async (t) => {
  const { qmp, sent } = await fixedAnswers(t, {});
  await setThrottle(qmp, neutralThrottle);
  t.same(sent[0], {
    execute: "migrate-set-parameters",
    arguments: { "cpu-throttle-initial": 1, "cpu-throttle-increment": 1, "max-cpu-throttle": 1 },
  });
});

t.test("three states are final", async (t) => {
  t.same(["none", "active", "completed", "cancelling", "failed", "cancelled", "device"].filter(isFinal), [
    "completed",
    "failed",
    "cancelled",
  ]);
});
