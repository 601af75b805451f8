import t from "tap";
import {
  type Cell,
  cellName,
  cellsOf,
  filledBytes,
  isQemuVariant,
  linkName,
  type Plan,
  rewrittenPages,
  works,
} from "./matrix-cells.ts";
import { estimateSeconds } from "./matrix-estimate.ts";
import { seriesOf } from "./matrix-series.ts";

const plan: Plan = {
  content: "mixed",
  modes: ["scan", "standing"],
  quick: false,
  sizes: null,
  links: null,
  methods: null,
};
const minutes = (cells: readonly Cell[]) =>
  seriesOf(cells).reduce((sum, series) => sum + estimateSeconds(series), 0) / 60;

t.test(
  "a full matrix has every size, link, method and work, and QEMU's variants once for each guest and link",
  (t) => {
    const cells = cellsOf(plan);
    t.equal(cells.length, 3 * 3 * (3 + 2 * works.length));
    t.equal(new Set(cells.map(cellName)).size, cells.length, "names are unique");
    t.ok(
      cells.every((cell) => /^[A-Za-z0-9-]+$/.test(cellName(cell))),
      "and can be names of files",
    );
    t.ok(cells.every(({ method, work }) => isQemuVariant(method) === (work === null)));
    t.equal(linkName(cells[0]!.link), "100/40", "the targets' link comes first");
    t.end();
  },
);

t.test("a mode that the build does not have is left out, and what is not wanted", (t) => {
  t.notOk(cellsOf({ ...plan, modes: ["scan"] }).some(({ method }) => method === "standing"));
  const some = cellsOf({ ...plan, sizes: [1024], links: ["50/200"], methods: ["plain", "scan"] });
  t.equal(some.length, 1 + works.length);
  t.ok(some.every(({ memoryMiB, link }) => memoryMiB === 1024 && linkName(link) === "50/200"));
  t.same(cellsOf({ ...plan, quick: true, sizes: [1024] }), [], "a quick one has no guest of 1 GiB");
  t.end();
});

t.test("a quick matrix, with Linux, is expected to take less than 15 minutes", (t) => {
  const quick = { ...plan, quick: true };
  const cells = [...cellsOf(quick), ...cellsOf({ ...quick, content: "linux" })];
  t.ok(minutes(cells) < 15, `${minutes(cells)} min`);
  t.ok(minutes(cellsOf(plan)) > 30, "unlike the full one");
  const names = cellsOf(quick).map(cellName);
  const full = new Set(cellsOf(plan).map(cellName));
  t.ok(
    names.every((name) => full.has(name)),
    "its cells are some of the full one's",
  );
  const sizes = new Set(
    cellsOf(quick).flatMap(({ memoryMiB, work }) => (work === "8mib" ? [memoryMiB] : [])),
  );
  t.ok(sizes.size > 1, "growth can be told");
  t.end();
});

t.test("one guest serves QEMU's variants, or a mode's legs", (t) => {
  const series = seriesOf(cellsOf({ ...plan, links: ["100/40"], sizes: [512] }));
  t.same(
    series.map((cells) => cells.map(({ method, work }) => work ?? method)),
    [["plain", "xbzrle", "multifd-zstd"], [...works], [...works]],
  );
  t.end();
});

t.test("a guest's memory is filled to more than 80 %, and shares are of all of it", (t) => {
  for (const size of [512, 1024, 2048]) {
    t.ok(filledBytes(size) >= 0.8 * size * 2 ** 20);
    t.equal(filledBytes(size) % 2 ** 20, 0);
    t.equal(rewrittenPages("10pc", size), Math.round((size * 256) / 10));
    t.ok(rewrittenPages("50pc", size) * 4096 < filledBytes(size));
    t.equal(rewrittenPages("8mib", size), 2048);
    t.equal(rewrittenPages("idle", size), 0);
  }
  t.end();
});
