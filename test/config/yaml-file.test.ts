import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { z } from "zod";
import { parseYaml, readYamlText } from "../../cli/config/yaml-file.ts";
import { endsAs } from "../store/operation-errors.ts";

const schema = z.strictObject({
  name: z.string(),
  inner: z.strictObject({ count: z.int() }).optional(),
  list: z.array(z.string()).default([]),
});

/** The message with which a text is refused; always for wrong use. */
function refusalOf(text: string): string {
  try {
    parseYaml(text, "site.yaml", schema);
  } catch (error) {
    t.match(error, endsAs("usage"));
    return (error as Error).message;
  }
  return "";
}

t.test("what fits the schema comes back with its defaults", async (t) => {
  t.strictSame(parseYaml("name: a\ninner: {count: 3}\n", "site.yaml", schema), {
    name: "a",
    inner: { count: 3 },
    list: [],
  });
});

t.test("a syntax error names file, line and column", async (t) => {
  t.match(refusalOf("name: a\ninner: {count: 3\n"), /^Cannot read site\.yaml:3:1: /);
  t.match(refusalOf("name: a\n\tinner: 3\n"), /^Cannot read site\.yaml:2:1: /);
  t.match(refusalOf("name: a\nname: b\n"), /^Cannot read site\.yaml:2:1: .*unique/);
  t.match(refusalOf("name: a\n---\nname: b\n"), /^Cannot read site\.yaml:2:/);
});

t.test("a wrong value names file, line and field", async (t) => {
  t.match(refusalOf("name: a\nlist:\n  - b\n  - 7\n"), /^Cannot use site\.yaml:4: list\.1: /);
  t.match(refusalOf("# first\n\nname: 7\n"), /^Cannot use site\.yaml:3: name: /);
  t.match(refusalOf("name: a\ninner:\n  count: x\n"), /^Cannot use site\.yaml:3: inner\.count: /);
  t.match(
    refusalOf("name: a\nlist:\n  b: c\n"),
    /^Cannot use site\.yaml:2: list: /,
    "the line of the field's name, not of its value",
  );
});

t.test("a missing field names the line where it should be", async (t) => {
  t.match(refusalOf("list: []\n"), /^Cannot use site\.yaml:1: name: /);
  t.match(refusalOf("name: a\ninner: {}\n"), /^Cannot use site\.yaml:2: inner\.count: /);
});

t.test("an unknown field names the line where it is", async (t) => {
  t.match(refusalOf("name: a\nnmae: b\n"), /^Cannot use site\.yaml:2: .*"nmae"/);
  t.match(refusalOf("name: a\ninner:\n  count: 1\n  more: 2\n"), /^Cannot use site\.yaml:4: inner: .*"more"/);
});

t.test("what is no map at all is refused", async (t) => {
  for (const text of ["", "just text", "- a\n- b\n", "null"]) {
    t.match(refusalOf(text), /^Cannot use site\.yaml/, JSON.stringify(text));
  }
});

t.test("aliases that multiply, and aliases of nothing, are refused by name of the file", async (t) => {
  const bomb = ["a: &a [x, x, x, x, x, x]"];
  for (const [one, below] of ["ba", "cb", "dc", "ed", "fe"]) {
    bomb.push(`${one}: &${one} [${Array(6).fill(`*${below}`).join(", ")}]`);
  }
  t.match(refusalOf(bomb.join("\n")), /^Cannot (read|use) site\.yaml.*alias/i);
  t.match(refusalOf("name: *nothing\n"), /^Cannot (read|use) site\.yaml.*alias/i);
});

t.test("a text that is too long is refused before it is parsed", async (t) => {
  t.match(refusalOf(`name: ${"x".repeat(1 << 20)}\n`), /^Cannot read site\.yaml: it exceeds 1048576 bytes/);
});

t.test("a file is read with its path in every message; one that is missing too", async (t) => {
  const readYamlFile = async (path: string) => parseYaml(await readYamlText(path), path, schema);
  const folder = t.testdir({ "good.yaml": "name: a\n", "bad.yaml": "name: [\n" });
  t.strictSame(await readYamlFile(join(folder, "good.yaml")), { name: "a", list: [] });
  await t.rejects(readYamlFile(join(folder, "bad.yaml")), {
    ...endsAs("usage"),
    message: new RegExp(`^Cannot read ${folder}/bad\\.yaml:2:1: `),
  });
  for (const name of ["missing.yaml", "."]) {
    await t.rejects(readYamlFile(join(folder, name)), {
      ...endsAs("usage"),
      message: /^Cannot read .*: E(NOENT|ISDIR)/,
    });
  }
  writeFileSync(join(folder, "bytes.yaml"), Uint8Array.of(0xff, 0xfe, 0));
  await t.rejects(readYamlFile(join(folder, "bytes.yaml")), endsAs("usage"));
});
