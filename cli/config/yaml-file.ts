/** YAML files checked against a schema; errors name file, line and field. */

import { readFile } from "node:fs/promises";
import { isNode, LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import { messageOf, OperationError } from "../errors.ts";

/** Longest YAML file that is read. */
const maxBytes = 1 << 20;

/** Reads and checks a YAML file. Throws OperationError "usage" with file, line and field. */
export async function readYamlFile<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new OperationError("usage", `Cannot read ${path}: ${messageOf(error)}`);
  }
  return parseYaml(text, path, schema);
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
  const parsed = schema.safeParse(document.toJS({ maxAliasCount: 10 }));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue.path.map(String).join(".");
  const line = lineOf(issue.path);
  throw new OperationError(
    "usage",
    `Cannot use ${path}${line}: ${field ? `${field}: ` : ""}${issue.message}`,
  );

  function lineOf(fields: readonly PropertyKey[]): string {
    for (let depth = fields.length; depth >= 0; depth--) {
      const node = depth === 0 ? document.contents : document.getIn(fields.slice(0, depth), true);
      if (isNode(node) && node.range) return `:${lines.linePos(node.range[0]).line}`;
    }
    return "";
  }
}
