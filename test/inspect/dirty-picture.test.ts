import fc from "fast-check";
import t from "tap";
import { DirtyPicture, drawBitmap } from "../../cli/inspect/dirty-picture.ts";

t.test("few pages have a character each, many share at most four lines", (t) => {
  t.strictSame(drawBitmap(Uint8Array.of(0b0000_0110), 5), ["·██··"]);
  t.strictSame(drawBitmap(Uint8Array.of(0b0001_0000, 0b1), 6, 3), ["·█···█"], "from a page on");
  t.strictSame(drawBitmap(new Uint8Array(1 << 10), 1 << 13), new Array(4).fill("·".repeat(64)));
  const picture = new DirtyPicture(256 * 4);
  for (const [cell, count] of [1, 2, 3, 4].entries()) picture.add(cell * 4, count);
  t.equal(picture.draw()[0].slice(0, 5), "░▒▓█·");
  t.end();
});

t.test("a run counts as its pages do, also over the end", (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3000 }),
      fc.nat(3100),
      fc.integer({ min: 1, max: 900 }),
      (pages, first, count) => {
        const [run, single] = [new DirtyPicture(pages), new DirtyPicture(pages)];
        run.add(first, count);
        for (let page = first; page < first + count; page++) single.add(page, 1);
        return run.count === count && run.draw().join() === single.draw().join();
      },
    ),
  );
  t.end();
});
