import { join } from "node:path";
import t, { type Test } from "tap";
import { ManagedVm, type RunningQemu } from "../../cli/agent/managed-vm.ts";
import { parseDefinition } from "../../cli/config/vm-definition.ts";
import { loadCore } from "../../src/core.ts";
import { endsAs } from "../store/operation-errors.ts";

const core = await loadCore();
const definition = parseDefinition("name: web1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\n", "web1.yaml");

function newVm(t: Test): ManagedVm {
  const folder = t.testdir();
  return new ManagedVm(core, join(folder, "store"), join(folder, "run"), definition);
}

/** A promise that the test settles. */
function held(): { promise: Promise<void>; release: () => void; fail: (error: Error) => void } {
  let release = () => {};
  let fail = (_error: Error) => {};
  const promise = new Promise<void>((resolve, reject) => {
    release = resolve;
    fail = reject;
  });
  return { promise, release, fail };
}

const turns = async () => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};

t.test("one thing at a time: what comes meanwhile is refused and told why", async (t) => {
  const vm = newVm(t);
  const { promise, release } = held();
  const first = vm.doing("migrate", async (activity) => {
    activity.state = "rounds";
    await promise;
    return 7;
  });
  await turns();
  t.match(vm.activity, { what: "migrate", state: "rounds", progress: null });
  await t.rejects(
    vm.doing("stop", async () => t.fail("it must not run")),
    { ...endsAs("failed"), message: "Cannot stop web1 now: migrate is under way" },
  );
  t.match(vm.activity, { what: "migrate" }, "the refused one did not end the first");
  release();
  t.equal(await first, 7);
  t.equal(vm.activity, null);
});

t.test("what is asked of a VM that has just arrived waits until its arrival is over", async (t) => {
  const vm = newVm(t);
  const { promise, release } = held();
  const arrival = vm.doing("receive", async (activity) => {
    activity.state = "running";
    await promise;
  });
  await turns();
  let hasBegun = false;
  const onwards = vm.doing("migrate", async () => {
    hasBegun = true;
  });
  await turns();
  t.notOk(hasBegun);
  release();
  await Promise.all([arrival, onwards]);
  t.ok(hasBegun);
});

t.test("an action that fails leaves the VM free", async (t) => {
  const vm = newVm(t);
  await t.rejects(
    vm.doing("start", async () => {
      throw new Error("no QEMU");
    }),
    /no QEMU/,
  );
  t.equal(await vm.doing("start", async () => "started"), "started");
});

t.test(
  "an action waits for housekeeping that is under way, and housekeeping sees that it is wanted",
  async (t) => {
    const vm = newVm(t);
    const { promise, release } = held();
    const order: string[] = [];
    const tidying = vm.keepHouse(async () => {
      order.push("tidying");
      await promise;
      order.push(vm.activity ? "tidied, somebody waits" : "tidied");
    });
    await turns();
    const action = vm.doing("migrate", async () => void order.push("migrating"));
    await turns();
    t.strictSame(order, ["tidying"]);
    release();
    await Promise.all([tidying, action]);
    t.strictSame(order, ["tidying", "tidied, somebody waits", "migrating"]);
  },
);

t.test("housekeeping leaves a busy VM alone, and waits for other housekeeping", async (t) => {
  const vm = newVm(t);
  const busy = held();
  const action = vm.doing("migrate", () => busy.promise);
  await vm.keepHouse(async () => {
    t.fail("the VM is busy");
  });
  busy.release();
  await action;

  const first = held();
  const order: string[] = [];
  const one = vm.keepHouse(async () => {
    await first.promise;
    order.push("one");
  });
  const two = vm.keepHouse(async () => void order.push("two"));
  await turns();
  t.strictSame(order, []);
  first.release();
  await Promise.all([one, two]);
  t.strictSame(order, ["one", "two"]);
});

t.test("housekeeping that fails tells its caller, and stops nothing that comes after", async (t) => {
  const vm = newVm(t);
  const broken = vm.keepHouse(async () => {
    throw new Error("the disk is full");
  });
  const action = vm.doing("migrate", async () => "migrated");
  await t.rejects(broken, /the disk is full/);
  t.equal(await action, "migrated");
  let tidied = false;
  await vm.keepHouse(async () => {
    tidied = true;
  });
  t.ok(tidied);
});

t.test("changes of ownership come one after the other, also after one that failed", async (t) => {
  const vm = newVm(t);
  const first = held();
  const order: string[] = [];
  const one = vm.exclusively(async () => {
    await first.promise;
    order.push("one");
  });
  const two = vm.exclusively(async () => {
    order.push("two");
    return 2;
  });
  await turns();
  t.strictSame(order, []);
  const failed = t.rejects(one, /not written/);
  first.fail(new Error("not written"));
  await failed;
  t.equal(await two, 2);
  t.strictSame(order, ["two"]);
});

t.test("the end of the QEMU that runs is noticed; the end of one that was replaced is not", async (t) => {
  const vm = newVm(t);
  t.throws(() => vm.requireQemu(), { ...endsAs("failed"), message: /web1 does not run here/ });
  const ends: string[] = [];
  const adopt = (name: string) => {
    const end = held();
    const qemu = { kind: "attached", qmpPath: name, qmp: { closed: end.promise } } as unknown as RunningQemu;
    vm.adopt(qemu, () => ends.push(name));
    return { qemu, end: end.release };
  };
  const old = adopt("old");
  const current = adopt("current");
  old.end();
  await turns();
  t.equal(vm.requireQemu(), current.qemu);
  t.strictSame(ends, []);
  current.end();
  await turns();
  t.equal(vm.qemu, null);
  t.strictSame(ends, ["current"]);
});
