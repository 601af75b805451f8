/**
 * QEMU's description of a stream's device state: JSON behind the state, made by `vmstate_save_state` (QEMU,
 * migration/vmstate.c). It comes from outside: everything is checked, and counted against limits, before it is used.
 *
 *     {"page_size": 4096, "devices": [DEVICE…]}
 *     DEVICE  {"name", "instance_id", STRUCT} or, of old devices, {"name", "instance_id", "fields": [FIELD…]}
 *     STRUCT  "vmsd_name", "version", "fields": [FIELD…], "subsections": [{STRUCT}…]
 *     FIELD   {"name", "type", "size", "index" or "array_len", "struct": {STRUCT}}    size: of one element
 */

import { FormatError } from "../../src/errors.ts";

/** Limits on a description. */
export const descriptionLimits = {
  /** Bytes of JSON. */
  jsonBytes: 16 << 20,
  /** Structs within one another. */
  depth: 32,
  /** Devices, fields and subsections together. */
  items: 1 << 19,
  nameCharacters: 255,
  /** Bytes of a field, and elements of an array. */
  size: 64 << 20,
} as const;

/** A field as the description has it. */
export interface DescribedField {
  readonly name: string;
  readonly type: string;
  /** Bytes of one element. */
  readonly sizeBytes: number;
  /** Elements: 1 unless it is an array told as one. */
  readonly count: number;
  /** Place in an array whose elements are told one by one; null if it is none. */
  readonly index: number | null;
  /** Null for a field without parts. */
  readonly struct: DescribedStruct | null;
}

/** A struct, or a subsection. */
export interface DescribedStruct {
  readonly name: string;
  readonly version: number | null;
  readonly fields: readonly DescribedField[];
  readonly subsections: readonly DescribedStruct[];
}

/** A device. */
export interface DescribedDevice {
  readonly name: string;
  readonly instanceId: number;
  readonly struct: DescribedStruct;
}

/** Reads a description. Throws FormatError if it is none, or exceeds a limit. */
export function parseVmDescription(json: Uint8Array): DescribedDevice[] {
  if (json.length > descriptionLimits.jsonBytes) fail(`${json.length} bytes are too many`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch {
    fail("it is not JSON");
  }
  const { devices } = asObject(value, "the description");
  if (devices === undefined) return [];
  const reader = new DescriptionReader();
  return asList(devices, "devices").map((device) => reader.device(device));
}

/** Reads parts and counts them. */
class DescriptionReader {
  private items = 0;

  device(value: unknown): DescribedDevice {
    const object = asObject(value, "a device");
    const name = asName(object["name"], "a device's name");
    const instanceId = asInstance(object["instance_id"] ?? 0);
    return { name, instanceId, struct: this.struct(object, 0) };
  }

  private struct(object: Record<string, unknown>, depth: number): DescribedStruct {
    if (++this.items > descriptionLimits.items) fail("it has too many parts");
    if (depth > descriptionLimits.depth) fail("structs are nested too deeply");
    const { vmsd_name: name = "", version, fields = [], subsections = [] } = object;
    return {
      name: asName(name, "a struct's name"),
      version: version === undefined ? null : asCount(version, "a version", 2 ** 32),
      fields: asList(fields, "fields").map((field) => this.field(field, depth)),
      subsections: asList(subsections, "subsections").map((one) =>
        this.struct(asObject(one, "a subsection"), depth + 1),
      ),
    };
  }

  private field(value: unknown, depth: number): DescribedField {
    if (++this.items > descriptionLimits.items) fail("it has too many parts");
    const object = asObject(value, "a field");
    const { name, type = "?", size, index, array_len: count = 1, struct } = object;
    return {
      name: asName(name, "a field's name"),
      type: asName(type, "a field's type"),
      sizeBytes: asCount(size, "a field's size", descriptionLimits.size),
      count: asCount(count, "a field's array_len", descriptionLimits.size),
      index: index === undefined ? null : asCount(index, "a field's index", descriptionLimits.size),
      struct: struct === undefined ? null : this.struct(asObject(struct, "a struct"), depth + 1),
    };
  }
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail(`${what} is not an object`);
  return value as Record<string, unknown>;
}

function asList(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) fail(`${what} is not a list`);
  return value;
}

function asName(value: unknown, what: string): string {
  if (typeof value !== "string") fail(`${what} is not text`);
  if (value.length > descriptionLimits.nameCharacters) fail(`${what} has ${value.length} characters`);
  // It is printed to a terminal.
  return value.replace(/[^\x20-\x7e]/g, "?");
}

/** Instance numbers have 32 bits; QEMU writes them with or without a sign. */
function asInstance(value: unknown): number {
  if (value === -1) return 2 ** 32 - 1;
  return asCount(value, "an instance number", 2 ** 32 - 1);
}

function asCount(value: unknown, what: string, limit: number): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > limit) {
    fail(`${what} is not a number from 0 to ${limit}`);
  }
  return value as number;
}

function fail(why: string): never {
  throw new FormatError("bad-value", `Cannot read the description of the device state: ${why}`);
}
