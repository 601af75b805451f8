import t from "tap";
import { describeOperation, type Operation } from "./operations.ts";
import { hexOf, readCalls, readDescents } from "./strace-output.ts";
import { TracedFiles } from "./traced-files.ts";

/** Operations of calls in which paths stand between braces. */
function follow(...calls: string[]): readonly Operation[] {
  const lines = calls.map((call) => {
    const text = call.replace(/\{(.*?)\}/g, (_, path) => hexOf(path));
    return /^\d+ /.test(text) ? text : `7 ${text}`;
  });
  const trace = lines.join("\n");
  const files = new TracedFiles("/w", "/marks", readDescents(trace));
  for (const event of readCalls(trace, [hexOf("/w"), hexOf("/marks")])) files.take(event);
  return files.operations;
}

const openA = 'openat(AT_FDCWD<{/}>, "{/w/a}", O_WRONLY|O_CREAT, 0600) = 3<{/w/a}>';

t.test("positions are kept for each open file, and shared by what was duplicated", async (t) => {
  const operations = follow(
    openA,
    'write(3<{/w/a}>, "\\x01\\x02", 2) = 2',
    "dup(3<{/w/a}>) = 4<{/w/a}>",
    'write(4<{/w/a}>, "\\x03\\x04", 2) = 1',
    "lseek(3<{/w/a}>, 9, SEEK_SET) = 9",
    'write(3<{/w/a}>, "\\x05", 1) = 1',
    'pwrite64(3<{/w/a}>, "\\x06", 1, 100) = 1',
    "ftruncate(3<{/w/a}>, 50) = 0",
  );
  t.strictSame(operations.map(describeOperation), [
    "0 enter a",
    "1 write a [0, 2)",
    "2 write a [2, 3)",
    "3 write a [9, 10)",
    "4 write a [100, 101)",
    "5 resize a to 50",
  ]);
});

t.test("a file is followed through renames, and its data where it is copied", async (t) => {
  const operations = follow(
    openA,
    'write(3<{/w/a}>, "\\x01\\x02\\x03", 3) = 3',
    'rename("{/w/a}", "{/w/b}") = 0',
    "fsync(3<{/w/b}>) = 0",
    "close(3<{/w/b}>) = 0",
    'openat(AT_FDCWD<{/}>, "{/w/b}", O_RDONLY) = 3<{/w/b}>',
    'openat(AT_FDCWD<{/w}>, "{c}", O_WRONLY|O_CREAT, 0600) = 4<{/w/c}>',
    "copy_file_range(3<{/w/b}>, [1], 4<{/w/c}>, NULL, 9, 0) = 2",
    'unlink("{/w/b}") = 0',
  );
  t.strictSame(operations.map(describeOperation), [
    "0 enter a",
    "1 write a [0, 3)",
    "2 rename a to b",
    "3 sync b",
    "4 enter c",
    "5 write c [0, 2)",
    "6 leave b",
  ]);
  t.match(operations[3], { covers: 3 });
  t.strictSame((operations[5] as { data: Uint8Array }).data, new Uint8Array([2, 3]));
});

t.test("a sync does not cover what another thread did meanwhile", async (t) => {
  const operations = follow(
    "7 clone3(CLONE_FILES) = 8",
    openA,
    "7 fsync(3<{/w/a}> <unfinished ...>",
    '8 write(3<{/w/a}>, "\\x01", 1) = 1',
    "7 <... fsync resumed>) = 0",
  );
  t.match(operations.at(-1), { kind: "sync", covers: 1 });
});

t.test("what failed changes nothing, and what is written elsewhere is no operation but a mark", async (t) => {
  const operations = follow(
    'mkdir("{/w/a}", 0700) = -1 EEXIST (File exists)',
    'openat(AT_FDCWD<{/}>, "{/marks}", O_RDWR) = 5<{/marks}>',
    'write(5<{/marks}>, "{text}", 4) = 4',
    'write(6<{socket:[1]}>, "{/w/a}", 4) = 4',
  );
  t.match(operations, [{ kind: "mark", text: "text" }]);
});

t.test("a call that is not understood is an error", async (t) => {
  const refused: [string, RegExp, ...string[]][] = [
    ["a link", /not known/, 'link("{/w/a}", "{/w/b}") = 0'],
    ["a failed sync", /did not succeed/, openA, "fsync(3<{/w/a}>) = -1 EIO (Input/output error)"],
    ["an unknown descriptor", /how .* was opened/, 'write(3<{/w/a}>, "\\x01", 1) = 1'],
    ["a file that was never made", /never made/, 'openat(AT_FDCWD<{/}>, "{/w/a}", O_RDONLY) = 3<{/w/a}>'],
    [
      "a rename between folders",
      /not modelled/,
      openA,
      'mkdir("{/w/f}", 0700) = 0',
      'rename("{/w/a}", "{/w/f/a}") = 0',
    ],
    ["a rename into the folder", /not in the watched folder/, 'rename("{/tmp/a}", "{/w/a}") = 0'],
    [
      "appending",
      /not modelled/,
      'openat(AT_FDCWD<{/}>, "{/w/a}", O_WRONLY|O_CREAT|O_APPEND, 0600) = 3<{/w/a}>',
    ],
    [
      "a shared mapping",
      /mapping/,
      openA,
      "mmap(NULL, 1, PROT_READ|PROT_WRITE, MAP_SHARED, 3<{/w/a}>, 0) = 0x7f",
    ],
    ["data that was cut short", /no whole string/, openA, 'write(3<{/w/a}>, "\\x01"..., 9) = 9'],
  ];
  for (const [what, message, ...calls] of refused) t.throws(() => follow(...calls), { message }, what);
});
