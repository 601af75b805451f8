import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { projectRoot } from "./project-files.ts";

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  todo: number;
  assertions: number;
}

const script = pathToFileURL(join(projectRoot, ".ci", "tap-tally.mjs")).href;
const { createTally } = (await import(script)) as {
  createTally: (listeners?: {
    onFailure?: (names: string[]) => void;
    onSkip?: (names: string[], point: { skip: string }) => void;
  }) => {
    write: (text: string) => void;
    end: () => Tally;
  };
};

function tallyTap(tap: string, failures: string[] = [], skips: string[] = []): Tally {
  const tally = createTally({
    onFailure: (names) => failures.push(names.join(" > ")),
    onSkip: (names, { skip }) => skips.push(`${names.join(" > ")}: ${skip}`),
  });
  for (const character of tap) tally.write(character);
  return tally.end();
}

const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0, todo: 0, assertions: 0 };

t.test("tests are counted, not their assertions", async (t) => {
  const tap = `TAP version 14
# Subtest: dist/test/a.test.js
    # Subtest: adds
        ok 1 - one
        ok 2 - two
        1..2
    ok 1 - adds
    # Subtest: subtracts
        ok 1 - one
        not ok 2 - two
          ---
          diff: |
            ok 3 - text in a diagnostic is not a test point
          ...
        1..2
    not ok 2 - subtracts
    1..2
not ok 1 - dist/test/a.test.js
1..1
`;
  const failures: string[] = [];
  t.strictSame(tallyTap(tap, failures), { ...NOTHING, passed: 1, failed: 1, assertions: 4 });
  t.strictSame(failures, ["dist/test/a.test.js > subtracts > two"]);
});

t.test("a file that crashes after passing tests is a failed test", async (t) => {
  const tap = `TAP version 14
# Subtest: dist/test/a.test.js
    # Subtest: adds
        ok 1 - one
        1..1
    ok 1 - adds
    # test count(1) != plan(null)
not ok 1 - dist/test/a.test.js
  ---
  signal: SIGKILL
  ...
1..1
`;
  const failures: string[] = [];
  t.strictSame(tallyTap(tap, failures), { ...NOTHING, passed: 1, failed: 1, assertions: 1 });
  t.strictSame(failures, ["dist/test/a.test.js"]);
});

t.test("a file that crashes before its first test is a failed test", async (t) => {
  const tap = `TAP version 14
# Subtest: dist/test/a.test.js
    # no tests found
    1..0
not ok 1 - dist/test/a.test.js
1..1
`;
  t.strictSame(tallyTap(tap), { ...NOTHING, failed: 1 });
});

t.test("a failed assertion between passing subtests is a failed test", async (t) => {
  const tap = `TAP version 14
# Subtest: outer
    # Subtest: inner
        ok 1 - one
        1..1
    ok 1 - inner
    not ok 2 - between
    1..2
not ok 1 - outer
1..1
`;
  t.strictSame(tallyTap(tap), { ...NOTHING, passed: 1, failed: 1, assertions: 2 });
});

t.test("skipped and todo tests are neither passed nor failed", async (t) => {
  const tap = `TAP version 14
# Subtest: dist/test/a.test.js
    ok 1 - no kvm # SKIP no kvm
    not ok 2 - later # TODO
    1..2
ok 1 - dist/test/a.test.js
# Subtest: dist/test/b.test.js
    ok 1 - nested # SKIP /dev/kvm is missing
    1..1
ok 2 - dist/test/b.test.js
1..2
`;
  const skips: string[] = [];
  t.strictSame(tallyTap(tap, [], skips), { ...NOTHING, skipped: 2, todo: 1 });
  t.strictSame(skips, [
    "dist/test/a.test.js > no kvm: no kvm",
    "dist/test/b.test.js > nested: /dev/kvm is missing",
  ]);
});

t.test("output that is cut off or missing is a failed test", async (t) => {
  t.strictSame(tallyTap(""), { ...NOTHING, failed: 1 });
  t.strictSame(tallyTap("1..0\n"), { ...NOTHING, failed: 1 });
  const cut = `TAP version 14
1..2
# Subtest: dist/test/a.test.js
    ok 1 - one
    1..1
ok 1 - dist/test/a.test.js
`;
  t.strictSame(tallyTap(cut), { ...NOTHING, passed: 1, failed: 1, assertions: 1 });
});
