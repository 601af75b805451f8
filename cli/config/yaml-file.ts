/** YAML files checked against a schema; errors name file, line and field. */

import { readFile } from "node:fs/promises";
import { type Document, isMap, isNode, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import type { z } from "zod";
import { messageOf, OperationError } from "../errors.ts";

/** Longest YAML file that is read. */
const maxBytes = 1 << 20;

/** The text of a file. Throws OperationError "usage". */
export async function readYamlText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new OperationError("usage", `Cannot read ${path}: ${messageOf(error)}`);
  }
}

/** Checks YAML text; `path` is for messages. Throws OperationError "usage". */
export function parseYaml<T>(text: string, path: string, schema: z.ZodType<T>): T {
  if (text.length > maxBytes)
    throw new OperationError("usage", `Cannot read ${path}: it exceeds ${maxBytes} bytes`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const [error] = document.errors;
    const { line, col } = lines.linePos(error.pos[0]);
    throw new OperationError("usage", `Cannot read ${path}:${line}:${col}: ${error.message}`);
  }
  const parsed = schema.safeParse(plainValue(document, path));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue.path.map(String).join(".");
  const where = issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0]] : issue.path;
  const node = nodeOf(document, where);
  const line = node?.range ? `:${lines.linePos(node.range[0]).line}` : "";
  throw new OperationError(
    "usage",
    `Cannot use ${path}${line}: ${field ? `${field}: ` : ""}${issue.message}`,
  );
}

function plainValue(document: Document, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 10 });
  } catch (error) {
    // Aliases of nothing, and those that would multiply the document, come out only here.
    throw new OperationError("usage", `Cannot read ${path}: ${messageOf(error)}`);
  }
}

/** Where a field is: its name if it is in a map, else its value, else what should contain it. */
function nodeOf(document: Document, fields: readonly PropertyKey[]): Node | null {
  for (let depth = fields.length; depth > 0; depth--) {
    const parent = depth === 1 ? document.contents : document.getIn(fields.slice(0, depth - 1), true);
    const name = fields[depth - 1];
    const pair = isMap(parent) ? parent.items.find(({ key }) => isScalar(key) && key.value === name) : null;
    const node = pair ? pair.key : document.getIn(fields.slice(0, depth), true);
    if (isNode(node) && node.range) return node;
  }
  return isNode(document.contents) ? document.contents : null;
}
