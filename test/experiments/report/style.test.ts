import t from "tap";
import { style } from "../../../cli/experiments/report/style.ts";

/** The custom properties of light and dark. */
const [light, dark] = [...style.matchAll(/:root \{[^}]*\}/g)].map(
  ([rule]) =>
    new Map([...rule.matchAll(/--([a-z]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value])),
) as [Map<string, string>, Map<string, string>];

for (const [name, values] of [
  ["light", light],
  ["dark", dark],
] as const) {
  t.test(`${name}: text can be read, and marks be seen (WCAG 2.2, 1.4.3 and 1.4.11)`, async (t) => {
    const grounds = ["ground", "head"];
    for (const text of ["text", "quiet", "accent"]) {
      for (const ground of grounds) t.ok(contrast(values, text, ground) >= 4.5, `${text} on ${ground}`);
    }
    for (const mark of ["grey", "orange", "purple", "blue", "red", "green", "sky"]) {
      for (const ground of ["ground", "band"])
        t.ok(contrast(values, mark, ground) >= 3, `${mark} on ${ground}`);
    }
  });
}

function contrast(values: Map<string, string>, one: string, other: string): number {
  const [light = 0, dark = 0] = [one, other]
    .map((name) => luminance(values.get(name) ?? ""))
    .sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
