import t from "tap";
import { bytesOf, descriptorOf, hexOf, readCalls, readDescents, textOf } from "./strace-output.ts";

const path = hexOf("/w/a");
const other = hexOf("/elsewhere");

t.test(
  "calls are told when they are entered and when they are left, also where threads overlap",
  async (t) => {
    const trace = [
      `7 fsync(3<${path}> <unfinished ...>`,
      `8 rename("${path}", "${other}") = 0`,
      `9 unlink("${other}")     = 0`,
      "7 <... fsync resumed>)           = 0",
      "",
    ].join("\n");
    const events = [...readCalls(trace, [path])].map(({ moment, call }) => [
      moment,
      call.pid,
      call.name,
      call.result,
    ]);
    t.strictSame(events, [
      ["entered", 7, "fsync", null],
      ["entered", 8, "rename", null],
      ["left", 8, "rename", "0"],
      ["left", 7, "fsync", "0"],
    ]);
  },
);

t.test("arguments are taken apart at the outermost level", async (t) => {
  const trace = `7 writev(3<${path}>, [{iov_base="\\x01", iov_len=1}, {iov_base="", iov_len=0}], 2) = 1`;
  const [{ call }] = readCalls(trace, [path]);
  t.equal(call.args.length, 3);
  t.equal(call.args[2], "2");
});

t.test("strings and descriptors are read whole or refused", async (t) => {
  t.strictSame(bytesOf('"\\x00\\xff"'), new Uint8Array([0, 255]));
  t.equal(textOf(`"${hexOf("ä (x), y")}"`), "ä (x), y");
  t.throws(() => bytesOf('"\\x00"...'), /no whole string/);
  t.throws(() => bytesOf("NULL"), /no whole string/);
  t.strictSame(descriptorOf(`3<${path}>(deleted)`), { number: 3, path: "/w/a" });
  t.strictSame(descriptorOf("-1"), { number: -1, path: null });
  t.throws(() => descriptorOf("0x7f"), /no descriptor/);
});

t.test("a trace that is cut off, or in another form, is refused", async (t) => {
  const read = (trace: string) => [...readCalls(trace, [path])];
  t.throws(() => read(`7 fsync(3<${path}> <unfinished ...>`), /never ended/);
  t.throws(() => read("7 <... fsync resumed>) = 0"), /never began/);
  t.throws(() => read("strace: attached"), /Cannot read a line/);
  t.throws(() => read(`7 fsync(3<${path}>`), /Cannot read a line/);
});

t.test("threads have their maker's descriptors, processes do not", async (t) => {
  const trace = [
    "7 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD}, 88 <unfinished ...>",
    '8 execve("", [], 0x0) = 0',
    "7 <... clone3 resumed> => {parent_tid=[8]}, 88) = 8",
    "8 vfork() = 9",
    "8 vfork() = -1 EAGAIN",
  ].join("\n");
  t.strictSame(
    readDescents(trace),
    new Map([
      [8, { parent: 7, sharesFiles: true }],
      [9, { parent: 8, sharesFiles: false }],
    ]),
  );
});
