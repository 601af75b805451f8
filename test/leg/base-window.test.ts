import fc from "fast-check";
import t from "tap";
import { BaseWindow } from "../../cli/leg/base-window.ts";
import { GenerationContent } from "../../cli/store/generation-reader.ts";
import { ModelStore, page } from "../store/model-store.ts";

t.test("pages asked for in any order are those of the base", async (t) => {
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: 700 * page }] as const;
  const model = await ModelStore.create(t.testdir(), "web1", regions);
  const [, , newest] = await model.addChain(2);
  const memory = model.memories.get(3) as Uint8Array;
  const content = new GenerationContent(model.core, newest);
  const window = new BaseWindow(model.core, content);
  const target = model.core.allocate(page);
  const isRight = (number: number, at: number) =>
    Buffer.from(model.core.bytes().subarray(at, at + page)).equals(
      memory.subarray(number * page, (number + 1) * page),
    );
  for (let i = 0; i < 700; i++) if (!isRight(i, window.basePage(i))) t.fail(`page ${i} in order`);
  fc.assert(
    fc.property(fc.array(fc.nat(699), { maxLength: 50 }), (pages) =>
      pages.every((number) => {
        window.readBasePage(number, target);
        return isRight(number, target);
      }),
    ),
    { numRuns: 30 },
  );
  content.close();
});

t.test("without a base every page is zero, and there is none to point to", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const window = new BaseWindow(model.core, null);
  const target = model.core.allocate(page);
  model.core.bytes().fill(7, target, target + page);
  window.readBasePage(123456, target);
  t.ok(
    model.core
      .bytes()
      .subarray(target, target + page)
      .every((byte) => byte === 0),
  );
  t.throws(() => window.basePage(0), /no base/);
});
