import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { QEMU_BINARY } from "../qemu/qemu-fixture.ts";
import { matrixReport, resultKeys, runMatrix } from "./matrix-bench.ts";
import { type Cell, cellName, cellsOf, type Plan } from "./matrix-cells.ts";
import type { CellResult, Measured } from "./measured.ts";
import { ResultStore } from "./result-store.ts";

const plan: Plan = {
  content: "mixed",
  modes: ["scan"],
  quick: true,
  sizes: [512],
  links: ["100/40"],
  methods: ["plain", "xbzrle"],
};

t.test("what is in the folder is not measured again, and a run that fails is told", async (t) => {
  const folder = t.testdir();
  const qemuBinary = withoutVms(folder);
  const keyOf = await resultKeys(qemuBinary);
  const store = ResultStore.open<CellResult>(join(folder, "cells"), { fresh: false });
  const [plain, xbzrle] = cellsOf(plan) as [Cell, Cell];
  store.write(cellName(plain), keyOf(plain), result([measured(1000)]));
  store.write(cellName(xbzrle), keyOf({ ...xbzrle, content: "dense" }), result([measured(1)]));
  const told: string[] = [];
  const { signal } = new AbortController();
  const outcome = await runMatrix(plan, { store, qemuBinary, tell: (text) => told.push(text), signal });
  t.match(outcome.failures, [{ cell: cellName(xbzrle), reason: /Cannot launch QEMU/ }]);
  t.equal(outcome.failures.length, 1);
  t.same(
    outcome.results.map(({ runs }) => runs.map(({ totalMs }) => totalMs)),
    [[1000], []],
    "what was measured with other content is not taken for it",
  );
  t.match(
    told.join("\n"),
    /1 of 2 cells are in .*\n.*\nseries 1 of 1: mixed, 512 MiB, 100\/40: xbzrle\nit failed/,
  );

  const report = await matrixReport(plan, outcome);
  t.match(report.content, { name: "mixed", filledShare: 0.85, zstdRatio: null });
  t.ok(report.content.lz4Ratio! > 1.9 && report.content.lz4Ratio! < 2.1, `${report.content.lz4Ratio}`);
  t.equal(report.failures.length, 1);
  t.match(report.cells, [
    { method: "plain", link: "100/40", measured: [{ totalMs: 1000 }] },
    { measured: [] },
  ]);
});

t.test("fewer runs than are wanted are not enough, more are", async (t) => {
  const folder = t.testdir();
  const qemuBinary = withoutVms(folder);
  const keyOf = await resultKeys(qemuBinary);
  const store = ResultStore.open<CellResult>(join(folder, "cells"), { fresh: false });
  const own: Plan = { ...plan, methods: ["scan"] };
  for (const cell of cellsOf(own)) {
    const runs = cell.work === "idle" ? [1, 2] : [1, 2, 3];
    store.write(cellName(cell), keyOf({ ...cell, runs: runs.length }), result(runs.map(measured)));
  }
  const { signal } = new AbortController();
  const { failures } = await runMatrix(own, { store, qemuBinary, tell: () => {}, signal });
  t.same(
    failures.map(({ cell }) => cell),
    ["mixed-512MiB-100Mbit-40ms-scan-idle"],
  );
});

t.test("a result depends on the program and on QEMU", async (t) => {
  const keyOf = await resultKeys(QEMU_BINARY);
  const [plain] = cellsOf(plan) as [Cell];
  const [own] = cellsOf({ ...plan, methods: ["scan"] }) as [Cell];
  t.match(keyOf(plain), {
    method: "plain",
    qemu: /^\d+\.\d+/,
    program: /^[0-9a-f]{16}$/,
    downtimeLimitMs: 300,
  });
  t.not(keyOf(plain)["program"], keyOf(own)["program"], "baselines do not depend on code that only legs run");
  t.equal("runs" in keyOf(plain), false);
});

/** A QEMU that answers questions and starts no VM. */
function withoutVms(folder: string): string {
  const path = join(folder, "qemu");
  writeFileSync(path, `#!/bin/sh\ncase "$*" in *-name*) exit 1;; esac\nexec ${QEMU_BINARY} "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}

function result(runs: readonly Measured[]): CellResult {
  return { runs, machine: "a machine", load: 0, atTime: "2024-01-01T00:00:00.000Z" };
}

function measured(totalMs: number): Measured {
  return {
    totalMs,
    downtimeMs: 1,
    reportedDowntimeMs: 1,
    wireBytes: 1,
    agentCpuSeconds: 0,
    qemuCpuSeconds: 0,
    agentMemoryBytes: 0,
    qemuMemoryBytes: 0,
    rounds: 1,
    tracking: null,
  };
}
