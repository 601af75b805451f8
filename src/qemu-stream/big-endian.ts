/** Big-endian integers and ASCII names, as QEMU's stream has them. */

/** Reads an unsigned 32-bit integer. The caller has checked that four bytes are there. */
export function readBe32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function readBe16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** Reads an unsigned 64-bit integer. Above 2^53 the result is rounded: compare it with a limit before use. */
export function readBe64(bytes: Uint8Array, at: number): number {
  return readBe32(bytes, at) * 0x1_0000_0000 + readBe32(bytes, at + 4);
}

/** Writes an unsigned 32-bit integer and returns the position after it. */
export function writeBe32(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
  return at + 4;
}

export function writeBe16(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
  return at + 2;
}

/** Writes an unsigned integer of up to 53 bits as 64 bits and returns the position after it. */
export function writeBe64(bytes: Uint8Array, at: number, value: number): number {
  writeBe32(bytes, at, Math.floor(value / 0x1_0000_0000));
  return writeBe32(bytes, at + 4, value >>> 0);
}

/** Reads printable ASCII, or returns undefined if there is any other byte. */
export function readAscii(bytes: Uint8Array, at: number, length: number): string | undefined {
  let text = "";
  for (let i = at; i < at + length; i++) {
    const code = bytes[i]!;
    if (code < 0x20 || code > 0x7e) return undefined;
    text += String.fromCharCode(code);
  }
  return text;
}

/** Whether `text` is printable ASCII of 1 to `maxLength` characters. */
export function isAscii(text: string, maxLength: number): boolean {
  return text.length <= maxLength && /^[\x20-\x7e]+$/.test(text);
}

/** Writes ASCII text and returns the position after it. */
export function writeAscii(bytes: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
  return at + text.length;
}
