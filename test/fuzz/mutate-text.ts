/** Mutation of JSON by its values, and of YAML by its lines. */

import { mutateBytes } from "./mutate-bytes.ts";
import type { Random } from "./random.ts";
import { textOf, utf8 } from "./target.ts";

type Container = Record<string, unknown> | unknown[];

/** Values that are of another type, or at the end of their type's range. */
const oddValues: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  -1,
  1,
  0.5,
  1e-9,
  1e308,
  2 ** 31,
  2 ** 32,
  2 ** 44,
  2 ** 44 + 512,
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 53),
  4095,
  4096,
  512,
  "",
  "0",
  "a",
  "..",
  "../../etc/passwd",
  "/etc/passwd",
  "a\u0000b",
  "\u202eabc",
  "\ud800",
  "\ud83d\ude00",
  "__proto__",
  "constructor",
  "x".repeat(256),
  "ab".repeat(32),
  "AB".repeat(32),
  "-".repeat(16),
  [],
  {},
  [[[[[[[[]]]]]]]],
  { toString: 1 },
  { valueOf: null, length: 1e9 },
  { length: 2 ** 32 },
];

const oddKeys = ["__proto__", "constructor", "toString", "length", "then", "", "0", "type", "format"];

/** Changes values of a JSON text; a text that is not JSON, and now and then any, is changed by its bytes. */
export function mutateJson(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const value = random.oneIn(6) ? undefined : parsed(textOf(input));
  if (value === undefined) return mutateBytes(input, other, random, { tokens: jsonTokens });
  return utf8(JSON.stringify(mutateValue(value, parsed(textOf(other)), random)));
}

/** The value with one to six changes; `other` gives parts. Does not change its argument. */
export function mutateValue(value: unknown, other: unknown, random: Random): unknown {
  const box = { value: structuredClone(value) };
  for (let left = random.few(6); left > 0; left--) {
    const slots = slotsOf(box);
    const { container, key } = random.pick(slots);
    const held = (container as Record<string, unknown>)[key];
    const isObject = typeof held === "object" && held !== null && !Array.isArray(held);
    switch (random.below(isObject ? 9 : 7)) {
      case 0:
        if (Array.isArray(container)) container.splice(Number(key), 1);
        else if (container !== (box as unknown)) delete container[key];
        break;
      case 1:
        if (Array.isArray(container)) container.splice(Number(key), 0, structuredClone(held));
        else put(container, key, [held, held]);
        break;
      case 2:
        put(container, key, nearby(held, random));
        break;
      case 3:
        put(container, key, nearby(held, random));
        break;
      case 4: {
        const from = random.pick(slotsOf({ value: other ?? null }));
        put(container, key, structuredClone((from.container as Record<string, unknown>)[from.key]));
        break;
      }
      case 5: {
        const from = random.pick(slots);
        put(container, key, structuredClone((from.container as Record<string, unknown>)[from.key]));
        break;
      }
      case 6:
        put(container, key, structuredClone(random.pick(oddValues)));
        break;
      default:
        put(held as Container, random.pick(oddKeys), structuredClone(random.pick(oddValues)));
    }
  }
  return box.value;
}

/** Something of the same type that is almost the same. */
function nearby(value: unknown, random: Random): unknown {
  if (typeof value === "number") {
    return random.pick([
      value + 1,
      value - 1,
      -value,
      value * 2,
      value / 2,
      value + 512,
      value + 4096,
      value * 2 ** 32,
    ]);
  }
  if (typeof value === "string") return textOf(mutateBytes(utf8(value), utf8("x-1"), random)).slice(0, 4096);
  if (typeof value === "boolean") return !value;
  return structuredClone(random.pick(oddValues));
}

/** Defines the property even if its name is `__proto__`, as JSON.parse does. */
function put(container: Container, key: string, value: unknown): void {
  Object.defineProperty(container, key, { value, writable: true, enumerable: true, configurable: true });
}

function slotsOf(root: { value: unknown }): { container: Container; key: string }[] {
  const found: { container: Container; key: string }[] = [];
  const visit = (container: Container): void => {
    for (const key of Object.keys(container)) {
      if (found.length >= 400) return;
      found.push({ container, key });
      const value = (container as Record<string, unknown>)[key];
      if (typeof value === "object" && value !== null) visit(value as Container);
    }
  };
  visit(root as unknown as Container);
  return found;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const jsonTokens = [
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  "null",
  "1e999",
  "-0",
  "9007199254740993",
  '"__proto__":{}',
  "\\u0000",
  "\n",
  "\ufeff",
].map(utf8);

const yamlTokens = [
  "&a ",
  "*a",
  "<<: *a",
  "- *a\n",
  "!!binary ",
  "!!set ",
  "!!map ",
  "!!timestamp ",
  "!!int ",
  "!<tag:yaml.org,2002:float> ",
  "? ",
  ": ",
  "- ",
  "|\n",
  ">-\n",
  "---\n",
  "...\n",
  "%YAML 1.1\n",
  "%TAG ! x:\n",
  "{",
  "}",
  "[",
  "]",
  "\t",
  "  ",
  "#",
  "'",
  '"',
  "~",
  ".inf",
  ".nan",
  "-.inf",
  "0x7fffffffffffffff",
  "1e400",
  "0o17",
  "yes",
  "null",
  "__proto__: {}\n",
  "? {a: b}\n: c\n",
  "\ufeff",
  "\u0085",
  "\u0000",
  "16TiB",
  "999999999999999999GiB",
  "-1MiB",
  "1.5KiB",
].map(utf8);

/** Changes a YAML text: lines come, go, move and are indented otherwise; else by its bytes. */
export function mutateYaml(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  if (random.oneIn(2)) return mutateBytes(input, other, random, { tokens: yamlTokens });
  const lines = textOf(input).split("\n");
  const others = textOf(other).split("\n");
  for (let left = random.few(6); left > 0; left--) {
    const at = random.below(lines.length);
    switch (random.below(6)) {
      case 0:
        lines.splice(at, 1);
        break;
      case 1:
        lines.splice(at, 0, lines[random.below(lines.length)] ?? "");
        break;
      case 2:
        lines.splice(at, 0, random.pick(others));
        break;
      case 3:
        lines[at] = `${" ".repeat(random.below(6))}${(lines[at] ?? "").trim()}`;
        break;
      case 4:
        lines[at] = (lines[at] ?? "").replace(/:.*/, `: ${JSON.stringify(random.pick(oddValues))}`);
        break;
      default:
        lines[at] = (lines[at] ?? "").replace(/: ?/, `: ${textOf(random.pick(yamlTokens))}`);
    }
  }
  return utf8(lines.join("\n"));
}
