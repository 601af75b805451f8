/**
 * The device state of a stream taken apart by the stream's own description.
 *
 *     device      = 04 be32-section u8-length name be32-instance be32-version struct 7e be32-section
 *     struct      = fields, subsections         as the description lists them
 *     subsection  = 05 u8-length name be32-version struct
 */

import { readAscii, readBe32 } from "../../src/qemu-stream/big-endian.ts";
import { sectionTypes } from "../../src/qemu-stream/index.ts";
import type { DescribedDevice, DescribedField, DescribedStruct } from "./vm-description.ts";

/** A field with its value. */
export interface FieldLine {
  /** Its name after those of the structs that it is in: `cpu.regs[3].base`. */
  readonly path: string;
  readonly type: string;
  /** Position in the device state. */
  readonly offset: number;
  readonly bytes: number;
  /** Elements, where it is an array of values. */
  readonly count: number;
  /** The bytes in hexadecimal, of up to 16 bytes; null of more. */
  readonly hex: string | null;
}

/** A device with its fields. */
export interface DeviceLine {
  readonly name: string;
  readonly instanceId: number;
  readonly version: number;
  /** Position of its section in the device state, and length of the section. */
  readonly offset: number;
  readonly bytes: number;
  readonly fields: readonly FieldLine[];
}

/** What was found. */
export interface DeviceState {
  readonly devices: readonly DeviceLine[];
  /** Where state and description do not fit each other; null if they do. What comes after it is not in `devices`. */
  readonly problem: string | null;
  /** True if there are so many fields that the devices after them are left out. */
  readonly isCut: boolean;
}

/** Most fields of all devices: a few hundred for each device, and for each processor. */
const maxFields = 1 << 20;
const maxHexBytes = 16;

/** Takes the state apart. Never throws for what state and description contain: `problem` says it. */
export function readDeviceFields(state: Uint8Array, description: readonly DescribedDevice[]): DeviceState {
  const walk = new DeviceWalk(state);
  const devices: DeviceLine[] = [];
  let problem: string | null = null;
  let isCut = false;
  try {
    for (const device of description) devices.push(walk.device(device));
    walk.end();
  } catch (error) {
    if (error instanceof TooManyFields) isCut = true;
    else if (error instanceof Misfit) problem = error.message;
    else throw error;
  }
  return { devices, problem, isCut };
}

class Misfit extends Error {}
class TooManyFields extends Error {}

class DeviceWalk {
  private kept = 0;
  private readonly state: Uint8Array;
  private at = 0;
  private fields: FieldLine[] = [];

  constructor(state: Uint8Array) {
    this.state = state;
  }

  device({ name, instanceId, struct }: DescribedDevice): DeviceLine {
    const offset = this.at;
    this.fields = [];
    this.expect(sectionTypes.full, `the section of ${name}`);
    const section = this.number();
    const found = this.name();
    const instance = this.number();
    if (found !== name || instance !== instanceId) {
      this.fail(`the section of ${found}, ${instance} stands where ${name}, ${instanceId} should`, offset);
    }
    const version = this.number();
    this.struct(struct, "", this.state.length);
    this.expect(sectionTypes.footer, `the end of ${name}`);
    if (this.number() !== section) this.fail(`the end of ${name} has another section's number`);
    return { name, instanceId, version, offset, bytes: this.at - offset, fields: this.fields };
  }

  /** All devices have been read. */
  end(): void {
    if (this.at !== this.state.length - 1 || this.state[this.at] !== sectionTypes.endOfFile) {
      this.fail("more follows than the description has");
    }
  }

  private struct({ fields, subsections }: DescribedStruct, path: string, limit: number): void {
    for (const field of fields) this.field(field, path, limit);
    for (const subsection of subsections) {
      this.expect(sectionTypes.subsection, `subsection ${subsection.name}`);
      const name = this.name();
      if (name !== subsection.name) this.fail(`subsection ${name} stands where ${subsection.name} should`);
      this.number();
      this.struct(subsection, `${path}${name}:`, limit);
    }
  }

  private field(field: DescribedField, path: string, limit: number): void {
    const { name, type, sizeBytes, count, index, struct } = field;
    const own = `${path}${name}${index === null ? "" : `[${index}]`}`;
    const bytes = sizeBytes * count;
    if (bytes > limit - this.at) this.fail(`${own} has ${bytes} bytes, ${limit - this.at} are left`);
    const hasParts = struct !== null && struct.fields.length + struct.subsections.length > 0;
    if (!hasParts || sizeBytes === 0) {
      this.keep({ path: own, type, offset: this.at, bytes, count, hex: this.hex(bytes) });
      this.at += bytes;
      return;
    }
    for (let i = 0; i < count; i++) {
      const end = this.at + sizeBytes;
      this.struct(struct, `${own}${count === 1 ? "" : `[${i}]`}.`, end);
      if (this.at !== end) this.fail(`${own} has ${sizeBytes} bytes, its parts leave ${end - this.at}`);
    }
  }

  private keep(line: FieldLine): void {
    if (this.kept++ === maxFields) throw new TooManyFields();
    this.fields.push(line);
  }

  private hex(bytes: number): string | null {
    if (bytes > maxHexBytes) return null;
    const part = this.state.subarray(this.at, this.at + bytes);
    return Array.from(part, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  private expect(type: number, what: string): void {
    if (this.state[this.at] !== type) this.fail(`${what} does not stand there`);
    this.at++;
  }

  private number(): number {
    if (this.state.length - this.at < 4) this.fail("it ends too early");
    this.at += 4;
    return readBe32(this.state, this.at - 4);
  }

  private name(): string {
    const length = this.state[this.at] ?? 0;
    if (this.state.length - this.at < 1 + length) this.fail("it ends too early");
    this.at += 1 + length;
    return readAscii(this.state, this.at - length, length) ?? "?";
  }

  private fail(why: string, at = this.at): never {
    throw new Misfit(`The device state does not fit its description: ${why} (at byte ${at} of the state)`);
  }
}
