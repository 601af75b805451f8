/** The examples of docs/EMBEDDING.md: each stands below a comment with its name, and some have their output there too. */
import { readFileSync } from "node:fs";

const DOCUMENT = "docs/EMBEDDING.md";

/** The names of all examples, in the order of the document. */
export function exampleNames(): string[] {
  return [...readDocument().matchAll(/^<!-- example: (\S+) -->$/gm)].map(([, name]) => name!);
}

/** The text of the example with this name, such as "node.mjs". */
export function exampleNamed(name: string): string {
  return blockBelow("example", name);
}

/** What the example with this name prints. */
export function outputOf(name: string): string {
  return blockBelow("output", name);
}

function blockBelow(kind: "example" | "output", name: string): string {
  const head = `<!-- ${kind}: ${name} -->\n\`\`\``;
  const document = readDocument();
  const at = document.indexOf(head);
  if (at < 0) throw new Error(`There is no ${kind} ${name} in ${DOCUMENT}`);
  const from = document.indexOf("\n", at + head.length) + 1;
  return document.slice(from, document.indexOf("\n```", from) + 1);
}

function readDocument(): string {
  return readFileSync(DOCUMENT, "utf8");
}
