import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { FileOwnershipRegister, type OwnershipRecord } from "../../cli/store/ownership.ts";
import { endsAs } from "./operation-errors.ts";

const record: OwnershipRecord = {
  format: 1,
  vm: "web1",
  state: "owned",
  epoch: 4,
  generation: 2,
  peer: "b",
  refusedEpoch: 3,
};

function registerIn(folder: string): { register: FileOwnershipRegister; path: string } {
  mkdirSync(join(folder, "web1"));
  return { register: new FileOwnershipRegister(folder), path: join(folder, "web1", "ownership") };
}

t.test("a VM that is not known is owned by nobody", async (t) => {
  const { register } = registerIn(t.testdir());
  t.match(await register.read("web1"), { state: "none", epoch: 0, refusedEpoch: 0, generation: 0, peer: "" });
});

t.test("a record comes back, also to another register on the same store", async (t) => {
  const folder = t.testdir();
  const { register } = registerIn(folder);
  await register.write(record);
  t.strictSame(await register.read("web1"), record);
  t.strictSame(await new FileOwnershipRegister(folder).read("web1"), record);
});

t.test("neither epoch ever goes back", async (t) => {
  const { register } = registerIn(t.testdir());
  await register.write(record);
  await t.rejects(register.write({ ...record, epoch: 3 }), endsAs("refused"));
  await t.rejects(register.write({ ...record, refusedEpoch: 2 }), endsAs("refused"));
  t.strictSame(await register.read("web1"), record);
  await register.write({ ...record, state: "released", epoch: 5 });
  t.equal((await register.read("web1")).state, "released", "forward is allowed");
});

t.test("a damaged record is refused, not taken for none, and not overwritten", async (t) => {
  const { register, path } = registerIn(t.testdir());
  const { refusedEpoch, ...incomplete } = record;
  const bad = ["", "{", "null", JSON.stringify(incomplete), JSON.stringify({ ...record, extra: 1 })];
  for (const change of [{ format: 2 }, { vm: "other" }, { state: "mine" }, { epoch: -1 }, { epoch: 1.5 }]) {
    bad.push(JSON.stringify({ ...record, ...change }));
  }
  for (const text of bad) {
    writeFileSync(path, text);
    await t.rejects(register.read("web1"), endsAs("refused"), text);
    await t.rejects(register.write({ ...record, epoch: 99 }), endsAs("refused"));
  }
  t.equal(refusedEpoch, 3);
});

t.test("a record that does not follow the schema is not written", async (t) => {
  const { register } = registerIn(t.testdir());
  await t.rejects(register.write({ ...record, epoch: 1.5 }));
  t.equal((await register.read("web1")).state, "none");
});
